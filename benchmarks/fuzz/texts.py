"""Text: annotations, proteins, ontologies, configurations."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from benchmarks.fuzz.mutations import changed, packed
from benchmarks.fuzz.target import Format, Target, read_or_refuse

ROW = '1\thavana\t{kind}\t{start}\t{end}\t.\t+\t0\tgene_id "{gene}"; gene_name "{name}"; tag "basic";\n'
GTF = "#!genome-build\n" + "".join(
    ROW.format(kind=kind, start=100 * k + 1, end=100 * k + 50, gene=f"ENSG{k:011d}", name=f"G{k}")
    for k in range(4) for kind in ("gene", "transcript", "CDS")
)  # fmt: skip
GFF = "##gff-version 3\n" + "".join(
    f"1\te\tgene\t{k + 1}\t9\t.\t+\t.\tID=gene:G{k};Name=N{k};biotype=protein_coding\n"
    f"1\te\tmRNA\t{k + 1}\t9\t.\t+\t.\tID=t{k};Parent=gene:G{k}\n"
    f"1\te\tCDS\t{k + 1}\t9\t.\t+\t0\tID=c{k};Parent=t{k};protein_id=P{k}\n"
    for k in range(3)
)  # fmt: skip
TSV = "ensembl_id\tsymbol\tchromosome\tstart\tdescription\n" + "".join(
    f"ENSG{k:011d}\tG{k}\t1\t{k + 1}\tgene\n" for k in range(4)
)
FASTA = (
    ">ENSP1.1 pep chromosome:GRCh38:1:100:200:1 gene:ENSG00000000001.2 gene_symbol:AB description:x\nMKV*\n"
    ">sp|P1|A_HUMAN Insulin OS=Homo sapiens OX=9606 GN=INS PE=1 SV=1\nMALW\nAAAA\n>NP_1.1 [gene=tp53] [protein=p]\nMK\n"
)
OBO = "format-version: 1.2\nontology: t\n" + "".join(
    f'\n[Term]\nid: T:{k}\nname: t{k}\nsynonym: "s{k}" EXACT []\nalt_id: T:9{k}\n' + (f"is_a: T:{k - 1}\n" if k else "")
    for k in range(5)
)
RECIPE = 'out = "o"\ntables = "uce-mini"\n[model]\nlike = "uce-tiny"\n[pretrain]\nsteps = 5\n[[data]]\npath = "."\n'
POSITIONS = "gene_symbol,chromosome,start,species\nTP53,17,7668421,human\nINS,11,2159779,human\nIns1,19,1,mouse\n"
RUN = "dataset: &a\n  pad_length: 2048\n  sample_size: 1024\n  cls_token_idx: 1\n  pad_token_idx: 0\nother: *a\n"

DEEP = (b"[" * 100_000, b'{"a":' * 100_000)
"""Nested more deeply than Python can follow."""


def _unpacking(text: str) -> bytes:
    """A gzip of a megabyte that unpacks to this text and a gigabyte more, in lines."""
    return gzip.compress(text.encode()) + gzip.compress((b"A" * 65535 + b"\n") * 256) * 64


def _formats(text: str, name: str, attempt: Callable[[bytes], bool]) -> tuple[Format, ...]:
    """A text, and its gzip."""
    bombs = (_unpacking(text), gzip.compress(b"\0" * 2**25) * 32)
    return Format(name, text.encode(), attempt), Format(
        f"{name}, gzipped", gzip.compress(text.encode()), attempt, bombs
    )


def gtf(directory: Path) -> Target:
    """GTF, GFF3 and annotations; starts of genes that are not changed."""
    from univerce.genes.build.gtf import read_genes

    expected = {f"ENSG{k:011d}": 100 * k + 1 for k in range(4)}
    path = directory / "genes.gtf"
    bases = [packed(text.encode(), (b"gene_id ", b"Parent=", b"ID=", b"ensembl_id")) for text in (GTF, GFF, TSV)]

    def attempt(content: bytes) -> bool:
        genes = read_or_refuse(path, content, lambda: read_genes(path).genes)
        if content == GTF.encode():
            assert genes["start"].to_dict() == expected
        return genes is not None

    kinds = {"GTF": GTF, "GFF3": GFF, "gene annotation": TSV}
    formats = (form for name, text in kinds.items() for form in _formats(text, name, attempt))
    return Target(st.one_of(st.just(GTF.encode()), *bases), attempt, tuple(formats))


def fasta(directory: Path) -> Target:
    """FASTA; the residues of what is read are those of the file."""
    from univerce.genes.fasta import read_proteins

    path = directory / "pep.fa"

    def attempt(content: bytes) -> bool:
        found = read_or_refuse(path, content, lambda: list(read_proteins(path)))
        if found is not None and content[:2] != b"\x1f\x8b" and content[:3] != b"BZh":
            lines = [line.strip() for line in content.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")]
            assert [p.sequence for p in found] == _sequences(lines)
        return found is not None

    tokens = (b">", b"gene:", b"[gene=" * 500, b"chromosome:a:1:" + b"9" * 30)
    return Target(packed(FASTA.encode(), tokens), attempt, _formats(FASTA, "FASTA", attempt))


def _sequences(lines: list[str]) -> list[str]:
    out: list[str] = []
    for line in lines:
        if line.startswith(">"):
            out.append("")
        elif line:
            out[-1] += line.upper()
    return out


def obo(directory: Path) -> Target:
    """OBO; edges of a file that is not changed."""
    from univerce.io.obo import read_obo

    path = directory / "t.obo"

    def attempt(content: bytes) -> bool:
        graph = read_or_refuse(path, content, lambda: read_obo(path))
        if content == OBO.encode():
            assert sorted(graph.edges) == [(f"T:{k}", f"T:{k - 1}") for k in range(1, 5)]
        return graph is not None

    tokens = (b"is_a: T:4\n", b"[Term]\n", b"[Typedef]\n", b"is_obsolete: true\n", b"id: ", b"name: ", b"{a=b} ! c\n")
    return Target(packed(OBO.encode(), tokens), attempt, _formats(OBO, "OBO", attempt))


def positions(directory: Path) -> Target:
    """``species_chrom.csv``; the rows of what is read are those of the file."""
    from univerce.genes.release.parse import read_positions

    path = directory / "species_chrom.csv"

    def attempt(content: bytes) -> bool:
        found = read_or_refuse(path, content, lambda: read_positions(path))
        if content == POSITIONS.encode():
            assert found["start"].tolist() == [7668421, 2159779, 1]
        return found is not None

    tokens = (b",", b"human", b"1e300", b"gene_symbol,")
    return Target(packed(POSITIONS.encode(), tokens), attempt, _formats(POSITIONS, "species_chrom.csv", attempt))


def config(directory: Path) -> Target:
    """``config.json`` of a model: the configuration as it was, or refused; nothing larger is made."""
    from univerce.model.directory import read_model
    from univerce.model.find import find_model

    model = find_model("uce-tiny")
    (directory / "model.safetensors").symlink_to(model.weights)
    path = directory / "config.json"

    def attempt(content: bytes) -> bool:
        found = read_or_refuse(path, content, lambda: read_model(directory))
        if found is not None:  # the digest guards all but the name and the default sampling
            changed_fields = found.config.to_dict() | {"model_id": "", "sampling": ""}
            assert changed_fields == model.config.to_dict() | {"model_id": "", "sampling": ""}
        return found is not None

    whole = (model.path / "config.json").read_bytes()
    big = tuple(whole.replace(b'"n_layers": 2', b'"n_layers": ' + n) for n in (b"1000000000", b"9" * 5000))
    formats = (Format("config.json of a model", whole, attempt, (*DEEP, *big)),)
    return Target(changed(whole, (b'"n_layers": 1000000000,', b'"config": null,')), attempt, formats)


def toml(directory: Path) -> Target:
    """Recipes of pretraining."""
    from univerce.training.recipe import read_recipe

    path = directory / "r.toml"
    tokens = (b"[" * 4000, b"a." * 3000 + b"b = 1\n", b"[[data]]\n", b"held_out = 3\n", b"[pretrain]\n", b"path = 5\n")
    strategy = changed(RECIPE.encode(), tokens)

    def attempt(content: bytes) -> bool:
        return read_or_refuse(path, content, lambda: read_recipe(path), FileNotFoundError) is not None

    bombs = (b"a = " + b"[" * 100_000, b"a." * 100_000 + b"b = 1")
    return Target(strategy, attempt, (Format("TOML recipe", RECIPE.encode(), attempt, bombs),))


def yaml(directory: Path) -> Target:
    """``config.yaml`` of a training run."""
    from univerce.genes.release.sentence_ids import read_sentence_ids

    path = directory / "config.yaml"
    known = {"chrom_token_offset": 1000, "chrom_token_right_idx": 2000}
    tokens = (b"<<: *a\n", b"&b ", b"*a", b"- ", b"!!python/object:os.system ", b"? ", b"[" * 2000)

    def attempt(content: bytes) -> bool:
        read = lambda: read_sentence_ids(None, [path], given=known)  # noqa: E731
        return (
            read_or_refuse(path, content, read, ValueError) is not None
        )  # what it does not state is an error of the checkpoint

    levels = "".join(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 9)}]}}\n" for k in range(1, 12))
    bombs = (b"a: " + b"[" * 100_000, ("a0: &a0 {x: 1}\n" + levels).encode())
    return Target(changed(RUN.encode(), tokens), attempt, (Format("config.yaml", RUN.encode(), attempt, bombs),))


def vocabulary(directory: Path) -> Target:
    """Lists of genes and their tokens."""
    from univerce.genes.release.vocabulary import read_vocabulary, vocabulary_species

    path = directory / "gene_mapping.json"
    gene = {"protein_embedding_id": "7", "chromosome_id": "3", "location": "939275"}
    base = json.dumps({"human": {"TP53": gene, "INS": gene}, "mouse": {"Ins": gene}}).encode()

    def attempt(content: bytes) -> bool:
        read = lambda: [read_vocabulary(path, name) for name in vocabulary_species(path)]  # noqa: E731
        return read_or_refuse(path, content, read) is not None

    formats = (Format("gene_mapping.json", base, attempt, DEEP),)
    return Target(changed(base, (b'"location": 1e300,', b'"location": -1,', b'"human": 3,')), attempt, formats)

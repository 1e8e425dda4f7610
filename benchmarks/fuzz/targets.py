"""What is fuzzed: for each target a strategy, and a function that tries one value.

The function returns whether the value was read, and raises if the result is wrong or the error is not documented.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from hypothesis import strategies as st

from benchmarks.fuzz.matrices import csr
from benchmarks.fuzz.mutations import changed, packed
from univerce import FileError

Target = tuple[st.SearchStrategy[Any], Callable[[Any], bool]]

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
RUN = "dataset: &a\n  pad_length: 2048\n  sample_size: 1024\n  cls_token_idx: 1\n  pad_token_idx: 0\nother: *a\n"


def gtf(directory: Path) -> Target:
    """GTF, GFF3 and annotations; starts of genes that are not changed."""
    from univerce.genes.build.gtf import read_genes

    expected = {f"ENSG{k:011d}": 100 * k + 1 for k in range(4)}
    path = directory / "genes.gtf"
    bases = [packed(text.encode(), (b"gene_id ", b"Parent=", b"ID=", b"ensembl_id")) for text in (GTF, GFF, TSV)]

    def attempt(content: bytes) -> bool:
        genes = _read(path, content, lambda: read_genes(path).genes)
        if content == GTF.encode():
            assert genes["start"].to_dict() == expected
        return genes is not None

    return st.one_of(st.just(GTF.encode()), *bases), attempt


def fasta(directory: Path) -> Target:
    """FASTA; the residues of what is read are those of the file."""
    from univerce.genes.fasta import read_proteins

    path = directory / "pep.fa"

    def attempt(content: bytes) -> bool:
        found = _read(path, content, lambda: list(read_proteins(path)))
        if found is not None and content[:2] != b"\x1f\x8b" and content[:3] != b"BZh":
            lines = [line.strip() for line in content.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")]
            assert [p.sequence for p in found] == _sequences(lines)
        return found is not None

    return packed(FASTA.encode(), (b">", b"gene:", b"[gene=" * 500, b"chromosome:a:1:" + b"9" * 30)), attempt


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
        graph = _read(path, content, lambda: read_obo(path))
        if content == OBO.encode():
            assert sorted(graph.edges) == [(f"T:{k}", f"T:{k - 1}") for k in range(1, 5)]
        return graph is not None

    tokens = (b"is_a: T:4\n", b"[Term]\n", b"[Typedef]\n", b"is_obsolete: true\n", b"id: ", b"name: ", b"{a=b} ! c\n")
    return packed(OBO.encode(), tokens), attempt


def config(directory: Path) -> Target:
    """``config.json`` of a model: the configuration as it was, or refused; nothing larger is made."""
    from univerce.model.directory import read_model
    from univerce.model.find import find_model

    model = find_model("uce-tiny")
    (directory / "model.safetensors").symlink_to(model.weights)
    path = directory / "config.json"

    def attempt(content: bytes) -> bool:
        found = _read(path, content, lambda: read_model(directory))
        if found is not None:  # the digest guards all but the name and the default sampling
            changed_fields = found.config.to_dict() | {"model_id": "", "sampling": ""}
            assert changed_fields == model.config.to_dict() | {"model_id": "", "sampling": ""}
        return found is not None

    return changed((model.path / "config.json").read_bytes(), (b'"n_layers": 1000000000,', b'"config": null,')), attempt


def toml(directory: Path) -> Target:
    """Recipes of pretraining."""
    from univerce.training.recipe import read_recipe

    path = directory / "r.toml"
    tokens = (b"[" * 4000, b"a." * 3000 + b"b = 1\n", b"[[data]]\n", b"held_out = 3\n", b"[pretrain]\n", b"path = 5\n")
    strategy = changed(RECIPE.encode(), tokens)

    def attempt(content: bytes) -> bool:
        return _read(path, content, lambda: read_recipe(path), FileNotFoundError) is not None

    return strategy, attempt


def yaml(directory: Path) -> Target:
    """``config.yaml`` of a training run."""
    from univerce.genes.release.sentence_ids import read_sentence_ids

    path = directory / "config.yaml"
    known = {"chrom_token_offset": 1000, "chrom_token_right_idx": 2000}
    tokens = (b"<<: *a\n", b"&b ", b"*a", b"- ", b"!!python/object:os.system ", b"? ", b"[" * 2000)

    def attempt(content: bytes) -> bool:
        read = lambda: read_sentence_ids(None, [path], given=known)  # noqa: E731
        return (
            _read(path, content, read, ValueError) is not None
        )  # what it does not state is an error of the checkpoint

    return changed(RUN.encode(), tokens), attempt


def vocabulary(directory: Path) -> Target:
    """Lists of genes and their tokens."""
    from univerce.genes.release.vocabulary import read_vocabulary, vocabulary_species

    path = directory / "gene_mapping.json"
    gene = {"protein_embedding_id": "7", "chromosome_id": "3", "location": "939275"}
    base = json.dumps({"human": {"TP53": gene, "INS": gene}, "mouse": {"Ins": gene}}).encode()

    def attempt(content: bytes) -> bool:
        read = lambda: [read_vocabulary(path, name) for name in vocabulary_species(path)]  # noqa: E731
        return _read(path, content, read) is not None

    return changed(base, (b'"location": 1e300,', b'"location": -1,', b'"human": 3,')), attempt


def unpickle(directory: Path) -> Target:
    """Pickles of plain objects: nothing but plain objects comes out."""
    from univerce.genes.release.unpickle import load_pickle_plain

    path = directory / "x.pkl"
    values = ({"human": 4, "mouse": 13466}, {"A": np.float64(2.5), "B": [1, ("x", b"y")]})
    many = b"\xff" * 6 + b"\x00\x00"
    tokens = (b"c__builtin__\neval\n", b"cposix\nsystem\n", b"\x81", b"R", b"b", b"o", b"r\xff\xff\xff\x7f",
              b"\x96" + many, b"\x8e" + many, b"\x95" + many)  # fmt: skip
    strategy = st.one_of(*(changed(pickle.dumps(v, protocol=p), tokens) for v in values for p in (2, 3, 4, 5)))

    def attempt(content: bytes) -> bool:
        found = _read(path, content, lambda: [load_pickle_plain(path, numpy_numbers=True)])
        return found is not None and _plain(found)

    return strategy, attempt


def _plain(value: Any) -> bool:
    from univerce.genes.release.unpickle import load_pickle_plain

    todo, seen = [value], set()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        plain = isinstance(one, dict | list | tuple | set | frozenset | str | bytes | int | float | None)
        own = type(one).__name__ in ("_Dtype", "type", "function") and one.__module__ == load_pickle_plain.__module__
        assert plain or own, f"a {type(one).__name__} came out"
        if isinstance(one, dict):
            todo += [*one, *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            todo += one
    return True


def tables(directory: Path) -> Target:
    """Gene tables: the genes that were written, or refused."""
    from univerce.genes.table import make_table, read_table, table_digest, write_table

    genes = pd.DataFrame({"symbol": ["A", "B", "C"], "ensembl_id": ["E1", "", "E3"], "chromosome": ["1", "1", "X"],
                          "start": [5, 9, 2], "chromosome_code": [0, 0, 1]})  # fmt: skip
    table = make_table(
        genes, np.eye(3, 6, dtype="f4"), species="human", encoder="e", source="s", chromosome_names=["1", "X"],
        special_features=np.zeros((4, 6)), chromosome_codes=[0, 1], chromosome_features=np.ones((2, 6)),
    )  # fmt: skip
    bases = {suffix: write_table(table, directory / f"t{suffix}").read_bytes() for suffix in (".h5ad", ".zarr.zip")}
    strategy = st.one_of(*(st.tuples(st.just(suffix), changed(base, most=2)) for suffix, base in bases.items()))

    def attempt(value: tuple[str, bytes]) -> bool:
        path = directory / f"x{value[0]}"
        found = _read(path, value[1], lambda: read_table(path))
        if found is not None:
            assert table_digest(found) == table.uns["gene_table"]["digest"]
            if found.isbacked:
                found.file.close()
        return found is not None

    return strategy, attempt


def safetensors(directory: Path) -> Target:
    """Weights of a linear model: finite and of the shapes of the configuration, or refused."""
    from univerce.model.directory import Model
    from univerce.model.linear import Decoder, Linear, LinearConfig

    config = LinearConfig(token_dim=4, output_dim=2)
    ones = np.ones((2, 2), np.float32)
    decoder = Decoder(np.array([1]), np.ones((1, 2), np.int8), np.ones(1, np.float32), np.ones(1, np.float32))
    linear = Linear(config, ("A", "B", "C"), np.ones(3), np.ones((4, 2)), np.array([0, 2]), ones, ones[0], decoder)
    path = linear.save(directory / "model").weights
    content = path.read_bytes()

    def attempt(content: bytes) -> bool:
        found = _read(path, content, lambda: Linear.read(Model(config, "", path.parent)))
        if found is not None:
            assert np.isfinite(found.weight).all()
            assert found.weight.shape == (4, 2)
            assert found.decoder.slopes.shape == (len(found.decoder.genes), 2)
        return found is not None

    return changed(content, (b'"F16"', b'"I64"', b"[0,1]", b"[99999999999]")), attempt


def anndata(directory: Path) -> Target:
    """An AnnData in one file or a directory of which one file is changed; its counts are read to the end."""
    import scipy.sparse as sp

    from univerce.io.blocks import iter_blocks
    from univerce.io.files import open_anndata

    adata = ad.AnnData(
        sp.csr_matrix(np.arange(12.0).reshape(4, 3)), obs=pd.DataFrame({"t": list("abab")}, list("wxyz"))
    )
    adata.obsm["X_uce"], adata.layers["d"] = np.eye(4, 2), np.arange(12.0).reshape(4, 3)
    adata.write_zarr(directory / "a.zarr")
    adata.write_h5ad(directory / "a.h5ad")
    files = [directory / "a.h5ad", *sorted(f for f in (directory / "a.zarr").rglob("*") if f.is_file())]
    whole = [file.read_bytes() for file in files]
    tokens = (b'"shape": [1000000000000]', b"[4]", b"[-1]", b'"csc_matrix"', b"<f4", b"|O")
    strategy = st.sampled_from(range(len(files))).flatmap(
        lambda k: st.tuples(st.just(k), st.one_of(st.none(), changed(whole[k], tokens, most=2)))
    )

    def attempt(value: tuple[int, bytes | None]) -> bool:
        file, path = files[value[0]], directory / ("a.zarr" if value[0] else "a.h5ad")
        file.unlink()
        if value[1] is not None:
            file.write_bytes(value[1])
        try:
            found = open_anndata(path, expression=True)
            for X in (found.X, found.layers.get("d")):
                for _, block in iter_blocks(X, 3) if X is not None and len(X.shape) == 2 else ():
                    assert block.shape[1] == X.shape[1]
        except FileError:
            return False
        except FileNotFoundError:
            assert not path.exists()
            return False
        finally:
            if value[0] == 0 and "found" in locals():
                getattr(getattr(found.X, "group", found.layers.get("d")), "file", file.open()).close()
            file.write_bytes(whole[value[0]])
        return True

    return strategy, attempt


def manifest(directory: Path) -> Target:
    """Manifests of stores: resumed with the same inputs, or refused."""
    from univerce.inference.store import MANIFEST, EmbeddingStore

    options: dict[str, Any] = {"key": "X", "obs_names": list("abc"), "dim": 2, "block_rows": 2, "fingerprint": {"s": 1}}
    path = directory / "s.zarr"
    EmbeddingStore.open(path, **options)
    base = (path / MANIFEST).read_bytes()

    def attempt(content: bytes) -> bool:
        store = _read(path / MANIFEST, content, lambda: EmbeddingStore.open(path, **options), ValueError)
        if store is not None:
            assert (store.shape, store.missing()) == ((3, 2), [0, 1])
        return store is not None

    return changed(base, (b'"n_obs": 1000000000000000000,', b'"dtype": "O",')), attempt


def names(directory: Path) -> Target:
    """Gene names against a slow look-up of what is written as in the table."""
    from univerce.genes.load import load_table
    from univerce.genes.lookup import map_names

    table = load_table("human")
    table = table[np.random.default_rng(0).permutation(table.n_obs)[:200]].copy()
    symbols, ids = (table.obs[column].astype(str).tolist() for column in ("symbol", "ensembl_id"))
    rows = {name: [i for i, one in enumerate(symbols) if one == name] for name in symbols}
    parts = st.sampled_from(
        (
            "-1",
            ".2",
            "_",
            "GRCh38_",
            "mm10___",
            "ENSG00000141510",
            ".",
            "X",
            "MARCH",
            "SEPT",
            "1",
            "-",
            " ",
            "PAR_Y",
            "é",
        )
    )
    known = st.sampled_from([*symbols, *ids])
    name = st.one_of(
        known, known.map(str.lower), st.lists(st.one_of(parts, known), max_size=4).map("".join), st.text(max_size=12),
        st.dates().map(str), st.none(), st.just(float("nan")), st.integers(), st.just("1" * 3000),
    )  # fmt: skip

    def attempt(given: list[Any]) -> bool:
        mapping = map_names(given, table)
        assert len(mapping.rows) == len(given)
        for one, row, how in zip(given, mapping.rows.tolist(), mapping.how, strict=True):
            assert -1 <= row < table.n_obs
            assert (row < 0) == (how == "")
            text = one.strip() if isinstance(one, str) else ""
            if rows.get(text):
                assert row in rows[text]
                assert how == "symbol"
            elif text and text in ids:
                assert ids[row] == text
                assert how == "ensembl"
            elif not isinstance(one, str) and not isinstance(one, int):
                assert row == -1
        return True

    return st.lists(name, max_size=8), attempt


TARGETS: dict[str, Callable[[Path], Target]] = {
    target.__name__: target
    for target in (
        csr, names, gtf, fasta, obo, config, toml, yaml, vocabulary, unpickle, tables, safetensors, anndata, manifest,
    )
}  # fmt: skip


def _read(path: Path, content: bytes, read: Callable[[], Any], *further: type[Exception]) -> Any:
    """What is read from a file with this content; ``None`` if it is refused with the path, or by ``further``."""
    path.write_bytes(content)
    try:
        return read()
    except FileError as error:
        if str(path) not in str(error):
            raise AssertionError(f"the path is not named: {error}") from error
    except further:
        pass
    return None

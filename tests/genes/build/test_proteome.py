from __future__ import annotations

import pandas as pd
import pytest

from tests.helpers.proteomes import Record, gene_id, write_fasta
from univerce.genes.build.gtf import Annotation
from univerce.genes.build.proteome import read_proteome, without_sequences

A, B, C = gene_id(1), gene_id(2), gene_id(3)
RECORDS = [
    Record(B, "MKL", "Two", "5", 70),
    Record(A, "MK*L", "One", "X", 3),
    Record(A, "MKLLL", "One", "X", 9),
    Record(B, "MKLV", "Two", "5", 60, description="second"),
    Record(C, "", "", "5", 1),
    Record(B, "MKLW", "Two", "5", 80),
]


def annotation(*genes: tuple[str, str, str, int], of: dict[str, str] | None = None, canonical=()) -> Annotation:
    frame = pd.DataFrame(genes, columns=["id", "symbol", "chromosome", "start"]).set_index("id")
    return Annotation(frame.assign(description=""), of or {}, frozenset(canonical))


def sequences(found) -> dict[str, list[str]]:
    """Sequences by gene, told apart by the counts alone."""
    rest = iter(found.proteins)
    return {
        g: [next(rest).sequence for _ in range(n)] for g, n in zip(found.genes["ensembl_id"], found.counts, strict=True)
    }


def test_proteins_are_gathered_by_gene_in_the_order_of_their_first_protein_that_is_kept(tmp_path):
    found = read_proteome(write_fasta(tmp_path / "pep.fa", RECORDS))
    assert sequences(found) == {B: ["MKL", "MKLV", "MKLW"], A: ["MKLLL"]}
    assert found.lost == {"proteins with a stop": 1, "proteins without a sequence": 1}
    assert {(p.gene, p.symbol, p.description) for p in found.proteins[:3]} == {(B, "Two", "second")}
    # the start is the smallest of the kept proteins
    assert found.genes.to_numpy().tolist() == [[B, "Two", "5", 60], [A, "One", "X", 9]]


def test_the_longest_isoform_is_kept_and_the_others_are_counted(tmp_path):
    found = read_proteome(write_fasta(tmp_path / "pep.fa", RECORDS), isoforms="longest")
    assert sequences(found) == {B: ["MKLV"], A: ["MKLLL"]}
    assert found.lost["other isoforms"] == 2


def test_canonical_isoforms_are_those_of_the_annotation_and_else_the_longest(tmp_path):
    genes = annotation((A, "One", "X", 1), (B, "Two", "5", 2), canonical=["ENSTOYP00000000005"])
    found = read_proteome(write_fasta(tmp_path / "pep.fa", RECORDS), genes, isoforms="canonical")
    assert sequences(found) == {B: ["MKLW"], A: ["MKLLL"]}


def test_canonical_isoforms_need_an_annotation_that_names_them(tmp_path):
    for genes in (None, annotation((A, "One", "X", 1))):
        with pytest.raises(ValueError, match=r"tags such as Ensembl_canonical"):
            read_proteome(tmp_path / "pep.fa", genes, isoforms="canonical")
    with pytest.raises(ValueError, match="isoforms='first' is not known; use one of mean, longest, canonical"):
        read_proteome(tmp_path / "pep.fa", isoforms="first")


def test_an_annotation_overrides_headers_and_missing_genes_are_counted(tmp_path):
    found = read_proteome(write_fasta(tmp_path / "pep.fa", RECORDS), annotation((B, "New", "7", 5)))
    assert found.genes.to_numpy().tolist() == [[B, "New", "7", 5]]
    assert found.lost["proteins without a known gene"] == 1


@pytest.mark.parametrize(
    "header, of",
    [
        ("NP_000001.2 insulin [Gallus gallus]", {"NP_000001": "G"}),
        ("NP_000001.2", {"NP_000001.2": "G"}),
        ("sp|P1|INS_CHICK Insulin OS=Gallus gallus GN=INS PE=1", {}),
        ("sp|P1-2|INS_CHICK Insulin OS=Gallus gallus PE=1", {"P1": "G"}),
        ("x [gene=G] [protein_id=y]", {}),
    ],
    ids=["protein", "protein with version", "symbol", "isoform", "gene"],
)
def test_proteins_of_other_headers_find_their_gene_in_the_annotation(tmp_path, header, of):
    (tmp_path / "pep.fa").write_text(f">{header}\nMKL\n>unknown\nMK\n")
    genes = annotation(("G", "INS", "7", 5), ("H", "GCG", "7", 6), of=of)
    found = read_proteome(tmp_path / "pep.fa", genes)
    assert sequences(found) == {"G": ["MKL"]}
    assert found.lost == {"proteins without a known gene": 1}


def test_a_symbol_of_two_genes_is_ambiguous(tmp_path):
    (tmp_path / "pep.fa").write_text(">sp|P1|X GN=INS\nMKL\n>sp|P2|Y GN=GCG\nMKV\n")
    genes = annotation(("G", "INS", "7", 5), ("H", "INS", "8", 5), ("I", "GCG", "8", 5))
    assert sequences(read_proteome(tmp_path / "pep.fa", genes)) == {"I": ["MKV"]}


@pytest.mark.parametrize(
    "text, genes, said",
    [
        (">a gene:G\nM\n>a gene:G\nM\n", None, "'a' is repeated"),
        (">a chromosome:b:1:1:2:1 gene:G\nM\n>b chromosome:b:2:1:2:1 gene:G\nM\n", None, "'G' is on several chrom"),
        (">a\nMKL\n", None, r"1 proteins without a known gene\). The headers have no gene or position: pass"),
        (">a chromosome:b:1:1:2:1 gene:G\nM*\n", None, "If every sequence ends with [*], remove it"),
        (">a\nMKL\n", annotation(("G", "INS", "7", 5)), "Is the annotation of the same genome"),
    ],
    ids=["repeated", "two chromosomes", "no headers", "stops", "another genome"],
)  # fmt: skip
def test_an_unusable_proteome_is_refused(tmp_path, text, genes, said):
    (tmp_path / "pep.fa").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_proteome(tmp_path / "pep.fa", genes)


def test_without_sequences_every_gene_has_one_protein():
    found = without_sequences(annotation((A, "One", "X", 1), (B, "", "5", 2)))
    assert [(p.id, p.gene, p.symbol) for p in found.proteins] == [(A, A, "One"), (B, B, "")]
    assert found.counts.tolist() == [1, 1]


def test_the_digest_changes_with_a_sequence_a_name_and_a_boundary(tmp_path):
    def digest(*records):
        return read_proteome(write_fasta(tmp_path / "pep.fa", list(records))).digest()

    a, b = Record(A, "MK"), Record(B, "ML")
    digests = [digest(a, b), digest(a, Record(B, "MV")), digest(a, Record(A, "ML")), digest(Record(A, "MK", "S"), b)]
    assert len(set(digests)) == 4
    assert digest(a, b) == digests[0]

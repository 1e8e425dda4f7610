from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.proteomes import outcome
from univerce.genes.fasta import Protein, parse_header, read_proteins, without_version

ENSEMBL = (
    "ENSGALP00010000007.1 pep primary_assembly:bGalGal1.mat.broiler.GRCg7b:1:79726:86101:1 gene:ENSGALG00010005420.2 "
    "transcript:ENSGALT00010009321.1 gene_biotype:protein_coding transcript_biotype:protein_coding gene_symbol:DHRS4 "
    "description:dehydrogenase/reductase gene:4 [Source:NCBI gene;Acc:423738]"
)


def write(tmp_path, data: str | bytes, name: str = "pep.fa"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_header_of_ensembl_says_all():
    assert parse_header(ENSEMBL, "MK") == Protein(
        "ENSGALP00010000007.1", "MK", gene="ENSGALG00010005420", symbol="DHRS4", transcript="ENSGALT00010009321.1",
        description="dehydrogenase/reductase gene:4", chromosome="1", start=79726,
    )  # fmt: skip


def test_a_position_is_read_from_any_kind_of_sequence():
    for place, chromosome, start in (
        ("chromosome:GRCh38:X:10:20:1", "X", 10),
        ("scaffold:Mmur_3.0:KZ291901.1:7:9:-1", "KZ291901.1", 7),
        ("supercontig:x:GL172637.1:1:9:-1", "GL172637.1", 1),
        ("chromosome:BDGP6.46:2L:7529:9484:1", "2L", 7529),
        ("chromosome::I:3:4:1", "I", 3),
    ):
        found = parse_header(f"P pep {place} gene:FBgn0031208")
        assert (found.chromosome, found.start, found.gene) == (chromosome, start, "FBgn0031208")
    assert parse_header("P pep description:like gene:4").gene == ""


@pytest.mark.parametrize(
    "header, expected",
    [
        ("sp|P01308-2|INS_HUMAN Isoform of P01308, Insulin OS=Homo sapiens OX=9606 GN=INS PE=1 SV=1",
         Protein("P01308-2", symbol="INS", description="Isoform of P01308, Insulin")),
        ("tr|A0A1|A0A1_DANRE Uncharacterized protein OS=Danio rerio OX=7955 PE=4 SV=1",
         Protein("A0A1", description="Uncharacterized protein")),
        ("NP_000198.1 insulin preproprotein [Homo sapiens]",
         Protein("NP_000198.1", description="insulin preproprotein")),
        ("lcl|NC_1_prot_NP_7.2_3 [gene=ins] [locus_tag=L1] [protein=insulin] [protein_id=NP_7.2] [location=1..9]",
         Protein("NP_7.2", symbol="ins", description="insulin")),
        ("anything", Protein("anything")),
    ],
    ids=["uniprot", "uniprot without a gene", "ncbi", "ncbi cds", "a bare name"],
)  # fmt: skip
def test_headers_of_uniprot_and_ncbi(header, expected):
    assert parse_header(header) == expected


def test_only_a_stable_identifier_loses_its_version():
    names = {"ENSG00000254647.8": "ENSG00000254647", "NP_000198.1": "NP_000198", "T28F2.1": "T28F2.1", "INS": "INS"}
    assert {name: without_version(name) for name in names} == names


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_sequences_are_joined_over_lines_in_order(tmp_path, zipped, newline):
    text = newline.join([">a", "mk", "", "LV*", ">b some words", ">c", "X"]) + newline
    path = write(tmp_path, gzip.compress(text.encode()) if zipped else text)
    assert [(p.id, p.sequence) for p in read_proteins(path)] == [("a", "MKLV*"), ("b", ""), ("c", "X")]


@pytest.mark.parametrize(
    "data, said",
    [
        ("", "has no proteins"),
        ("MKL\n>a\n", "is not a FASTA file: it begins with 'MKL'"),
        (">a\nMK1\n", "line 2: '1' is not a letter"),
        (">a\nMK\n> \n", "line 3: empty header"),
        (gzip.compress(b">a\nMKKKKKKKKKKKKKKKKK\n")[:-9], "is damaged or is not text after line"),
        (b">a\n\xff\xfe\n", "is damaged or is not text after line"),
    ],
    ids=["empty", "no header", "a number", "empty header", "cut off", "not text"],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path, data, said):
    with pytest.raises(ValueError, match=said):
        list(read_proteins(write(tmp_path, data)))


@given(st.text(max_size=200))
def test_any_header_gives_a_protein(header):
    assert isinstance(parse_header(header), Protein)


@given(st.binary(max_size=300) | st.text(alphabet=">MKL*\n \t1:.=", max_size=300).map(str.encode))
def test_any_file_is_read_or_refused_with_a_message(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.fa"
    path.write_bytes(data)
    proteins, error = outcome(lambda p: list(read_proteins(p)), path)
    if proteins is None:
        assert "any.fa" in error
    else:
        assert len(proteins) == sum(line.strip().startswith(">") for line in data.decode().splitlines()) > 0

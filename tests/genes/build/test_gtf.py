# ruff: noqa: E501 (rows of files)
from __future__ import annotations

import gzip

import anndata as ad
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.proteomes import outcome
from univerce.genes import available_species
from univerce.genes.build.gtf import read_genes

ENSEMBL_GTF = """#!genome-build GRCg7b
7\tensembl\tgene\t300\t900\t.\t-\t.\tgene_id "ENSGALG00000000001"; gene_version "2"; gene_name "INS"; gene_biotype "protein_coding";
7\tensembl\ttranscript\t310\t900\t.\t-\t.\tgene_id "ENSGALG00000000001"; transcript_id "ENSGALT00000000001"; tag "basic"; tag "Ensembl_canonical";
7\tensembl\texon\t1\t900\t.\t-\t.\tgene_id "ENSGALG00000000001"; transcript_id "ENSGALT00000000001";
7\tensembl\tCDS\t320\t890\t.\t-\t0\tgene_id "ENSGALG00000000001"; transcript_id "ENSGALT00000000001"; protein_id "ENSGALP00000000001"; protein_version "1";
7\tensembl\ttranscript\t305\t900\t.\t-\t.\tgene_id "ENSGALG00000000001"; transcript_id "ENSGALT00000000002";
7\tensembl\tCDS\t320\t890\t.\t-\t0\tgene_id "ENSGALG00000000001"; transcript_id "ENSGALT00000000002"; protein_id "ENSGALP00000000002";
Z\tensembl\tgene\t5\t9\t.\t+\t.\tgene_id "ENSGALG00000000002";
Z\tensembl\tCDS\t6\t9\t.\t+\t0\tgene_id "ENSGALG00000000002"; transcript_id "ENSGALT00000000003"; protein_id "ENSGALP00000000003";
"""
ENSEMBL_GFF = """##gff-version 3
7\tx\tregion\t1\t9000\t.\t.\t.\tID=region:7
7\tensembl\tgene\t300\t900\t.\t-\t.\tID=gene:ENSGALG00000000001;Name=INS;biotype=protein_coding;description=insulin%3B first [Source:X];gene_id=ENSGALG00000000001;version=2
7\tensembl\tmRNA\t310\t900\t.\t-\t.\tID=transcript:ENSGALT00000000001;Parent=gene:ENSGALG00000000001;tag=basic,Ensembl_canonical;transcript_id=ENSGALT00000000001
7\tensembl\tCDS\t320\t890\t.\t-\t0\tID=CDS:ENSGALP00000000001;Parent=transcript:ENSGALT00000000001;protein_id=ENSGALP00000000001
7\tensembl\tmRNA\t305\t900\t.\t-\t.\tID=transcript:ENSGALT00000000002;Parent=gene:ENSGALG00000000001;transcript_id=ENSGALT00000000002
7\tensembl\tCDS\t320\t890\t.\t-\t0\tID=CDS:ENSGALP00000000002;Parent=transcript:ENSGALT00000000002;protein_id=ENSGALP00000000002
Z\tensembl\tgene\t5\t9\t.\t+\t.\tID=gene:ENSGALG00000000002;gene_id=ENSGALG00000000002
Z\tensembl\tmRNA\t5\t9\t.\t+\t.\tID=transcript:ENSGALT00000000003;Parent=gene:ENSGALG00000000002;transcript_id=ENSGALT00000000003
Z\tensembl\tCDS\t6\t9\t.\t+\t0\tID=CDS:ENSGALP00000000003;Parent=transcript:ENSGALT00000000003;protein_id=ENSGALP00000000003
##FASTA
>7
ACGT
"""
NCBI_GFF = """NC_1\tGnomon\tgene\t50\t99\t.\t+\t.\tID=gene-INS;Dbxref=GeneID:3630;Name=INS;gbkey=Gene;gene=INS
NC_1\tGnomon\tmRNA\t51\t99\t.\t+\t.\tID=rna-NM_1.2;Parent=gene-INS;gbkey=mRNA;gene=INS;tag=RefSeq Select;transcript_id=NM_1.2
NC_1\tGnomon\tCDS\t60\t90\t.\t+\t0\tID=cds-NP_000001.3;Parent=rna-NM_1.2;gene=INS;protein_id=NP_000001.3
MT\tRefSeq\tgene\t3\t9\t.\t+\t.\tID=gene-ND1;Name=ND1;gene=ND1
MT\tRefSeq\tCDS\t3\t9\t.\t+\t0\tID=cds-NP_000002.1;Parent=gene-ND1;gene=ND1;protein_id=NP_000002.1
"""
NCBI_GTF = (
    'NC_1\tx\tCDS\t60\t90\t.\t+\t0\tgene_id "INS"; transcript_id "NM_1.2"; gene "INS"; protein_id "NP_000001.3"; \n'
)


def read(tmp_path, text: str, name: str = "genes.gtf"):
    (tmp_path / name).write_text(text)
    return read_genes(tmp_path / name)


@pytest.mark.parametrize("text", [ENSEMBL_GTF, ENSEMBL_GFF], ids=["GTF", "GFF3"])
def test_ensembl_files_of_both_formats_say_the_same(tmp_path, text):
    found = read(tmp_path, text)
    assert found.genes.drop(columns="description").to_dict("index") == {
        "ENSGALG00000000001": {"symbol": "INS", "chromosome": "7", "start": 300},
        "ENSGALG00000000002": {"symbol": "", "chromosome": "Z", "start": 5},
    }
    proteins = {name: gene for name, gene in found.gene_of.items() if "P000" in name}
    assert {name[-1]: gene[-1] for name, gene in proteins.items()} == {"1": "1", "2": "1", "3": "2"}
    assert {"ENSGALT00000000001", "ENSGALP00000000001"} <= found.canonical
    assert not {"ENSGALT00000000002", "ENSGALP00000000002", "ENSGALP00000000003"} & found.canonical
    if text == ENSEMBL_GFF:  # without their source
        assert found.genes["description"].tolist() == ["insulin; first", ""]


def test_proteins_of_an_ncbi_gff_find_their_genes_also_without_a_transcript(tmp_path):
    found = read(tmp_path, NCBI_GFF)
    assert found.genes[["symbol", "chromosome", "start"]].to_numpy().tolist() == [["INS", "NC_1", 50], ["ND1", "MT", 3]]
    assert [found.gene_of[p] for p in ("NP_000001.3", "NP_000001", "NP_000002.1")] == ["INS", "INS", "ND1"]
    assert "NP_000001.3" in found.canonical
    assert "NP_000002.1" not in found.canonical


def test_a_gene_without_a_row_is_placed_by_its_coding_sequence_and_one_of_two_chromosomes_on_the_first(tmp_path):
    found = read(tmp_path, NCBI_GTF)
    assert found.genes.loc["INS"].tolist() == ["INS", "NC_1", 60, ""]
    assert found.gene_of["NP_000001.3"] == "INS"
    row = '{}\tx\tgene\t{}\t99\t.\t+\t.\tgene_id "ENSG00000000001.5"\n'
    found = read(tmp_path, row.format("X", 70) + row.format("Y", 3) + row.format("X", 60))
    assert found.genes.loc["ENSG00000000001"].tolist() == ["", "X", 60, ""]


def test_a_table_of_genes_is_an_annotation_too(tmp_path):
    rows = ["E1\tINS\t11\t50\tinsulin", "\tGCG\t2\t9\tglucagon", "\t\t2\t1\t"]
    text = "\n".join(["ensembl_id\tsymbol\tchromosome\tstart\tdescription", *rows])
    (tmp_path / "genes.tsv.gz").write_bytes(gzip.compress(text.encode()))
    found = read_genes(tmp_path / "genes.tsv.gz")
    assert found.genes.to_records().tolist() == [("E1", "INS", "11", 50, "insulin"), ("GCG", "GCG", "2", 9, "glucagon")]


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "has no genes"),
        ("# nothing\n", "has no genes"),
        ("1\tx\tgene\t5\t9\t.\t+\t.\n", "line 1: .* is not a row of a GTF or GFF3"),
        ("#\n1\tx\tgene\tfive\t9\t.\t+\t.\tgene_id \"G\"\n", "line 2: .* is not a row of a GTF or GFF3"),
        ("symbol,start\nINS,5\n", "the file also lacks the columns of a gene annotation"),
        ("1\tx\tgene\t5\t9\t.\t+\t.\tnote \"G\"\n", "has no genes"),
    ],
    ids=["empty", "comments", "columns", "start", "csv", "no identifier"],
)  # fmt: skip
def test_a_file_without_genes_is_refused_with_its_line(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        read(tmp_path, text)


FIELDS = st.sampled_from(
    ['gene_id "A"', "ID=gene:A", "Parent=a", "ID=a;Parent=b", "ID=b;Parent=a", "protein_id=P", "tag=x"]
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["gene", "mRNA", "CDS", "exon", "?"]), st.integers(0, 99), st.lists(FIELDS, max_size=3)
        )
    )
)
def test_any_rows_are_read_or_refused_with_a_message(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.gff"
    path.write_text("".join(f"1\tx\t{k}\t{s}\t9\t.\t+\t.\t{';'.join(f)}\n" for k, s, f in rows))
    found, error = outcome(read_genes, path)
    if found is None:
        assert "any.gff" in error
    else:
        assert set(found.gene_of.values()) <= set(found.genes.index)


@given(st.binary(max_size=200) | st.text(alphabet='\t1x\n"=;#', max_size=200).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.gtf"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"any\.gtf"):
        read_genes(path)


def test_the_annotations_of_ten_species_load_and_hold_the_counts_of_real_matrices(test_data):
    names = {}
    for species in available_species():
        genes = read_genes(test_data / "gene_annotation" / f"{species}.tsv.gz").genes
        names[species] = {*genes.index.str.upper(), *genes["symbol"].str.upper()} - {""}
        assert len(genes) > 13_000
        assert (genes["start"] > 0).all()
    assert len(names) == 10
    covered = {}
    for path in sorted(test_data.glob("*/*.h5ad")):
        data = ad.read_h5ad(path)
        known = data.var_names.str.upper().isin(names[str(data.obs["species"].iloc[0])])
        known |= data.var.get("ensembl_id", data.var_names.to_series()).astype(str).isin(names["worm"]).to_numpy()
        covered[path.stem] = float(data.X[:, known].sum() / data.X.sum())
    assert len(covered) > 40
    assert min(covered.values()) > 0.7, covered

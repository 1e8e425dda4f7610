"""Spellings of gene names."""

from __future__ import annotations

import pytest

from univerce.genes.spellings import date_symbols, make_names, split_genome, split_joined, without_suffix

GENOMES = {
    "GRCh38_CD3D": ("human", "CD3D"), "GRCh38______CD3D": ("human", "CD3D"), "hg19_HLA-DRB1": ("human", "HLA-DRB1"),
    "mm10___Cd3d": ("mouse", "Cd3d"), "mm10___1110004F10Rik": ("mouse", "1110004F10Rik"),
    "GRCh38-CD3D": ("human", "CD3D"), "mm10---mt-Co1": ("mouse", "mt-Co1"), "GRCh38-7SK": ("human", "7SK"),
    "GRCh38-3.0.0_HLA-A": ("human", "HLA-A"), "mm10-2020-A_Actb": ("mouse", "Actb"),
    "GRCh38_premrna_ACTB": ("human", "ACTB"), "GRCh38-1.2.0_premrna_ACTB": ("human", "ACTB"),
    "HUMAN_A1BG": ("human", "A1BG"), "MOUSE_A230052G05Rik": ("mouse", "A230052G05Rik"),
    "GRCh38_ENSG00000000003": ("human", "ENSG00000000003"), "Mmul_10_CD4": ("macaca_mulatta", "CD4"),
    "RP11-34P13.7": ("", "RP11-34P13.7"), "HLA-DRB1": ("", "HLA-DRB1"), "ERCC_00002": ("", "ERCC_00002"),
    "GRCh38_": ("", "GRCh38_"), "": ("", ""),
}  # fmt: skip


def test_the_prefix_of_a_genome_is_split_off():
    assert {name: split_genome(name) for name in GENOMES} == GENOMES


SUFFIXES = {
    "TBCE-1": "TBCE", "PSMA2.1": "PSMA2", "MATR3_1": "MATR3", "NKX2-1-1": "NKX2-1", "CD99_PAR_Y": "CD99",
    "CD99-PAR-Y": "CD99", "ACTB-201": "", "HLA-DRB1": "", "RP11-34P13.7": "RP11-34P13", "-1": "", "": "",
}  # fmt: skip


def test_the_suffix_of_a_repeated_name_is_removed_once():
    assert {name: without_suffix(name) for name in SUFFIXES} == SUFFIXES


def test_symbols_are_changed_as_r_does():
    names = ["HLA-A", "1110004F10Rik", "si:ch211-1a2.3", "A_b.c", "_x", "7SK"]
    assert [make_names(name) for name in names] == ["HLA.A", "X1110004F10Rik", "si.ch211.1a2.3", "A_b.c", "X_x", "X7SK"]


def test_a_symbol_and_an_identifier_in_one_are_split():
    assert split_joined("TP53_ENSG00000141510.18") == ("ENSG00000141510.18", "TP53")
    assert split_joined("ENSMUSG00000059552|Trp53") == ("ENSMUSG00000059552", "Trp53")
    assert split_joined("RP11_34P13") == split_joined("ENSG00000141510") == ()


@pytest.mark.parametrize(
    "name, symbols",
    [
        ("1-Mar", ["MARCHF1", "MTARC1"]),
        ("01-Mar", ["MARCHF1", "MTARC1"]),
        ("Mar-01", ["MARCHF1", "MTARC1"]),
        ("1-Mar-23", ["MARCHF1", "MTARC1"]),
        ("2023-03-01 00:00:00", ["MARCHF1", "MTARC1"]),
        ("11-MAR", ["MARCHF11", "MTARC11"]),
        ("2-Sep", ["SEPTIN2"]),
        ("Sept-02", ["SEPTIN2"]),
        ("15-Sep", ["SELENOF"]),
        ("1-Dec", ["DELEC1"]),
        ("1-Apr", []),
        ("HLA-DRB1", []),
        ("NKX2-1", []),
        ("Sep", []),
        ("", []),
    ],
)
def test_a_date_names_the_genes_that_spreadsheets_turn_into_it(name, symbols):
    assert date_symbols(name) == symbols

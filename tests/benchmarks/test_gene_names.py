"""Files of previous symbols and aliases."""

from __future__ import annotations

import pytest

from benchmarks.gene_names import write_other_names
from univerce.genes.gene_index import other_names, read_other_names

HEADER = "species\tname\tsymbol\tkind\tn_symbols"
LINES = [
    "human\tMARCH1\tMARCHF1\tprevious\t1",
    "human\tMARCH1\tMARCHF1\talias\t1",
    "human\tcd20\tMS4A1\talias\t1",
    "human\tTP53\tMDM2\talias\t1",  # the current symbol of another gene
    "human\tDEC1\tBHLHE40\talias\t1",  # another gene in a list that has both
    "human\tSEP2\tSEPTIN2\tprevious\t2",
    "human\tSEP2\tSEPTIN6\talias\t2",
    "human\tLONE\tFOO\talias\t2",  # the other gene is not in the table
    "human\t2-SEP\tSEPTIN2\talias\t1",
    "human\t09-02\tSEPTIN2\talias\t1",
    'human\tA"1\tFOO\talias\t1',
    "mouse\tp53\tTrp53\talias\t1",
    "mouse\ttrp53\tTrp53\talias\t1",
]
SYMBOLS = {"human": ["MARCHF1", "MS4A1", "TP53", "BHLHE40", "SEPTIN2", "SEPTIN6", "FOO"], "mouse": ["Trp53"]}


def test_names_of_one_gene_are_kept_and_those_of_several_are_ambiguous(tmp_path):
    (tmp_path / "aliases.tsv").write_text("\n".join([HEADER, *LINES]) + "\n")
    lists = {"human": [["DEC1", "Bhlhe40", "TP53"], ["MARCH1", "SEP2", "SEPTIN6"]]}
    paths = write_other_names(tmp_path / "aliases.tsv", tmp_path / "out", symbols=SYMBOLS, lists=lists)
    assert {species: path.name for species, path in paths.items()} == {"human": "human.tsv.xz", "mouse": "mouse.tsv.xz"}
    human, mouse = (read_other_names(paths[species]) for species in ("human", "mouse"))
    assert human.symbols == {"MARCH1": "MARCHF1", "CD20": "MS4A1", 'A"1': "FOO"}
    assert human.previous == {"MARCH1"}
    assert human.ambiguous == {"SEP2": ("SEPTIN2", "SEPTIN6"), "LONE": ("FOO",)}
    assert (mouse.symbols, mouse.previous, mouse.ambiguous) == ({"P53": "TRP53"}, frozenset(), {})


def test_the_same_table_gives_the_same_bytes(tmp_path):
    (tmp_path / "aliases.tsv").write_text("\n".join([HEADER, *LINES]) + "\n")
    (tmp_path / "turned.tsv").write_text("\n".join([HEADER, *LINES[::-1]]) + "\n")
    written = [
        write_other_names(tmp_path / name, tmp_path / name[:2], symbols=SYMBOLS)["human"].read_bytes()
        for name in ("aliases.tsv", "turned.tsv")
    ]
    assert written[0] == written[1]


def test_a_table_without_a_column_is_refused(tmp_path):
    (tmp_path / "a.tsv").write_text("species\tname\nhuman\tA\n")
    with pytest.raises(ValueError, match=r"no column symbol, kind, n_symbols; it has species, name"):
        write_other_names(tmp_path / "a.tsv", tmp_path, symbols={"human": ["A"]})


def test_the_package_has_names_of_human_and_mouse():
    human = other_names("human")
    assert human.symbols["MARCH3"] == "MARCHF3"
    assert "MARCH3" in human.previous
    assert human.symbols["CD20"] == "MS4A1"
    assert "DEC1" not in human.symbols  # DELEC1, which has no protein, and not BHLHE40
    assert other_names("mouse").symbols["MARCH3"] == "MARCHF3"
    assert other_names("axolotl").symbols == {}

"""OBO files read into graphs."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import networkx as nx
import pytest

from tests.helpers.obo import OBO
from univerce.io.obo import read_obo


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pytest.importorskip("obonet")
    path = tmp_path / "toy.obo"
    path.write_text(OBO)
    return path


def test_terms_in_use_are_nodes_and_is_a_their_edges(path):
    ontology = read_obo(path)
    assert type(ontology) is nx.DiGraph
    assert sorted(ontology) == [f"T:{i}" for i in range(7)]
    assert sorted(ontology.edges) == [
        ("T:1", "T:0"), ("T:2", "T:1"), ("T:3", "T:1"), ("T:4", "T:2"), ("T:4", "T:6"), ("T:6", "T:0"),
    ]  # fmt: skip
    assert ontology.nodes["T:2"] == {"name": "T cell", "synonyms": ("T-lymphocyte", 'cell that says "T"', "shared")}
    assert (ontology.graph["name"], ontology.graph["version"]) == ("toy", "toy/1")
    assert ontology.graph["alternative"] == {"T:20": "T:2", "T:21": "T:2"}
    assert sorted(ontology.graph["obsolete"]) == ["T:7", "T:8", "T:9"]


def test_parts_are_edges_only_when_asked_for(path):
    ontology = read_obo(path, relations=("is_a", "part_of"))
    assert ontology.edges["T:2", "T:5"] == {"relation": "part_of"}
    assert ontology.edges["T:2", "T:1"] == {"relation": "is_a"}
    assert ontology.number_of_edges() == 7


def test_a_compressed_file_is_read(path):
    packed = path.with_suffix(".obo.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert sorted(read_obo(packed).edges) == sorted(read_obo(path).edges)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.obo"
    cycle = "ontology: x\n\n[Term]\nid: A:1\nname: a\nis_a: A:2\n\n[Term]\nid: A:2\nname: b\nis_a: A:1\n"
    for text, relations, message in (
        ("<html>\n<p>403</p>", ("is_a",), "not an ontology in OBO format"),
        ("", ("is_a",), "not an ontology in OBO format"),
        ("ontology: x\n", ("is_a",), "no term has a name"),
        (OBO, ("has_part",), r"relations=\('has_part',\) must name relations"),
        (OBO, "is_a", "relations='is_a' must name relations"),
        (OBO, (), r"relations=\(\) must name relations"),
        (cycle, ("is_a",), "form a cycle: A:"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_obo(path, relations=relations)
    for missing in ("nowhere.obo", "http://purl.obolibrary.org/obo/cl.obo"):
        with pytest.raises(FileNotFoundError, match="No ontology found at"):
            read_obo(missing)


def test_without_obonet_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "obonet", None)
    with pytest.raises(ImportError, match=r'pip install "univerce\[ontology\]"'):
        read_obo(path)

"""The included Cell Ontology: its terms, against the release it was made from."""

from __future__ import annotations

import gzip
import json
import re

import networkx as nx
import pytest

from benchmarks.cell_ontology import compact
from univerce.datasets import read_ontology
from univerce.io.cell_ontology import read_cell_ontology


@pytest.fixture(scope="module")
def cl():
    return read_ontology()


def test_it_is_one_graph_of_cells_with_its_license(cl):
    assert (cl.graph["name"], cl.graph["version"]) == ("cl", "2026-03-26")
    assert "CC BY 4.0" in cl.graph["license"]
    assert nx.is_directed_acyclic_graph(cl)
    assert all(re.fullmatch(r"CL:\d{7}", term) for term in cl)
    assert len(cl) > 3000
    assert {data["relation"] for *_, data in cl.edges(data=True)} == {"is_a"}


def test_lineages_by_hand(cl):
    above = {cl.nodes[term]["name"] for term in nx.descendants(cl, "CL:0000236")}  # B cell
    assert {"lymphocyte of B lineage", "lymphocyte", "leukocyte", "hematopoietic cell", "cell"} <= above
    assert {"T cell", "myeloid cell", "epithelial cell"}.isdisjoint(above)
    assert "NK cell" in cl.nodes["CL:0000623"]["synonyms"]
    assert cl.graph["obsolete"]["CL:0000003"] == {
        "name": "obsolete native cell", "replaced_by": ["CL:0000000"], "consider": []
    }  # fmt: skip


def test_it_is_the_release(cl, test_data):
    release = json.loads(gzip.decompress((test_data / "ontology" / "cl_2026-03-26.json.gz").read_bytes()))
    assert set(release) == {*cl, *cl.graph["obsolete"]}
    inside = [term for term, entry in release.items() if not entry["deprecated"] and 1 in entry["ancestors"].values()]
    for term in inside[::7]:
        assert nx.descendants(cl, term) == set(release[term]["ancestors"])
    again = json.loads(gzip.decompress(compact(release, "2026-03-26")))
    assert {term: entry[0] for term, entry in again["terms"].items()} == dict(cl.nodes(data="name"))


def test_parents_are_the_ancestors_at_one_edge():
    terms = {
        "CL:1": {"label": "a", "ancestors": {}, "deprecated": False},
        "CL:2": {"label": "b", "ancestors": {"CL:1": 1}, "deprecated": False, "synonyms": ["bee"]},
        "CL:3": {"label": "c", "ancestors": {"CL:2": 1, "CL:1": 2}, "deprecated": False},
        "CL:4": {"label": "obsolete d", "ancestors": {}, "deprecated": True, "consider": ["CL:2"]},
    }
    content = json.loads(gzip.decompress(compact(terms, "1")))
    assert content["terms"] == {"CL:1": ["a", [], []], "CL:2": ["b", ["CL:1"], ["bee"]], "CL:3": ["c", ["CL:2"], []]}
    assert content["obsolete"] == {"CL:4": ["obsolete d", [], ["CL:2"]]}


def test_other_relations_need_a_file():
    with pytest.raises(ValueError, match="has 'is_a' only"):
        read_ontology(relations=("is_a", "part_of"))


def test_a_missing_networkx_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "networkx", None)
    with pytest.raises(ImportError, match=r'pip install "univerce\[ontology\]"'):
        read_cell_ontology()

"""Reading ontologies, and the relations of their terms against brute force."""

from __future__ import annotations

import gzip
import itertools
import sys

import networkx as nx
import numpy as np
import pytest

from univerce.tl.ontology.graph import (
    ancestors,
    as_ontology,
    common_ancestors,
    depths,
    resolve_terms,
    tree_distances,
)
from univerce.tl.ontology.read_ontology import read_ontology

OBO = """format-version: 1.2
data-version: toy/1
ontology: toy

[Term]
id: T:0
name: cell

[Term]
id: T:1
name: lymphocyte
is_a: T:0 ! cell

[Term]
id: T:2
name: T cell
alt_id: T:20
alt_id: T:21
synonym: "T-lymphocyte" EXACT []
synonym: "cell that says \\"T\\"" EXACT [GOC:x]
synonym: "killer" RELATED []
synonym: "shared" EXACT []
is_a: T:1 ! lymphocyte
relationship: part_of T:5 ! thymus

[Term]
id: T:3
name: B cell
synonym: "shared" EXACT []
synonym: "t CELL" EXACT []
is_a: T:1 ! lymphocyte

[Term]
id: T:4
name: CD8 T cell
is_a: T:2 ! T cell
is_a: T:6 ! killer

[Term]
id: T:5
name: thymus

[Term]
id: T:6
name: killer
is_a: T:0 ! cell

[Term]
id: T:7
name: obsolete T-like cell
is_obsolete: true
replaced_by: T:8

[Term]
id: T:8
name: obsolete T-ish cell
is_obsolete: true
replaced_by: T:20

[Term]
id: T:9
name: obsolete something
is_obsolete: true
consider: T:3
consider: T:6
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "toy.obo"
    path.write_text(OBO)
    return path


@pytest.fixture
def ontology(path):
    return read_ontology(path)


def test_terms_in_use_are_nodes_and_is_a_their_edges(ontology):
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
    ontology = read_ontology(path, relations=("is_a", "part_of"))
    assert ontology.edges["T:2", "T:5"] == {"relation": "part_of"}
    assert ontology.edges["T:2", "T:1"] == {"relation": "is_a"}
    assert ontology.number_of_edges() == 7


def test_a_compressed_file_is_read(path, ontology):
    packed = path.with_suffix(".obo.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert sorted(read_ontology(packed).edges) == sorted(ontology.edges)


@pytest.mark.parametrize(
    "name, term",
    [
        pytest.param("T:2", "T:2", id="an id"),
        pytest.param(" T:2 ", "T:2", id="an id with blanks"),
        pytest.param("T:21", "T:2", id="an alternative id"),
        pytest.param("T:7", "T:2", id="a replaced id whose replacement was replaced and merged"),
        pytest.param("CD8 T cell", "T:4", id="a name"),
        pytest.param("cd8 t CELL", "T:4", id="a name in other capitals"),
        pytest.param("T-lymphocyte", "T:2", id="an exact synonym"),
        pytest.param("t cell", "T:2", id="a name before the synonym of another term"),
        pytest.param("killer", "T:6", id="a name that is a related synonym elsewhere"),
    ],
)
def test_a_term_is_found_by(ontology, name, term):
    assert resolve_terms(ontology, [name]) == {name: term}


@pytest.mark.parametrize(
    "name, message",
    [
        pytest.param("T:99", r"1 of 2 labels are no terms of the ontology 'toy' \(toy/1\): 'T:99'", id="unknown id"),
        pytest.param("T cells", "'T cells'", id="nearly a name"),
        pytest.param("shared", r"'shared' \(may be T:2, T:3\)", id="a synonym of two terms"),
        pytest.param("T:9", r"'T:9' \(obsolete something; consider T:3, T:6\)", id="obsolete without replacement"),
    ],
)
def test_what_is_no_term_is_named(ontology, name, message):
    with pytest.raises(ValueError, match=message):
        resolve_terms(ontology, ["T cell", name], what="labels")


def test_relations_of_the_toy_by_hand(ontology):
    assert ancestors(ontology, "T:4") == {"T:4", "T:2", "T:6", "T:1", "T:0"}
    assert depths(ontology) == {"T:0": 0, "T:1": 1, "T:2": 2, "T:3": 2, "T:4": 3, "T:5": 0, "T:6": 1}
    assert common_ancestors(ontology, ["T:2", "T:3"]) == ["T:1"]
    assert common_ancestors(ontology, ["T:4", "T:2"]) == ["T:2"]
    assert common_ancestors(ontology, ["T:4", "T:6"]) == ["T:6"]
    assert common_ancestors(ontology, ["T:4"]) == ["T:4"]
    assert common_ancestors(ontology, ["T:4", "T:5"]) == []
    np.testing.assert_array_equal(
        tree_distances(ontology, ["T:4", "T:3", "T:6", "T:5"]),
        [[0, 3, 1, np.inf], [3, 0, 3, np.inf], [1, 3, 0, np.inf], [np.inf, np.inf, np.inf, 0]],
    )


@pytest.mark.parametrize("seed", range(5))
def test_relations_of_random_graphs_equal_those_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    n = 14
    graph = nx.DiGraph()
    graph.add_nodes_from(map(str, range(n)))
    graph.add_edges_from((str(i), str(j)) for i, j in itertools.combinations(range(n), 2) if rng.random() < 0.15)
    terms = rng.permutation(list(graph)).tolist()
    undirected = dict(nx.all_pairs_shortest_path_length(graph.to_undirected()))
    expected = [[undirected[a].get(b, np.inf) for b in terms] for a in terms]
    np.testing.assert_array_equal(tree_distances(graph, terms), expected)
    for term, depth in depths(graph).items():
        assert depth == max(len(way) - 1 for root in graph for way in [*nx.all_simple_paths(graph, term, root), [term]])
    for a, b in itertools.combinations(terms, 2):
        shared = [t for t in graph if nx.has_path(graph, a, t) and nx.has_path(graph, b, t)]
        lowest = [t for t in shared if not any(o != t and nx.has_path(graph, o, t) for o in shared)]
        assert common_ancestors(graph, [a, b]) == sorted(lowest)


def test_a_path_or_a_graph_is_an_ontology(path, ontology):
    assert sorted(as_ontology(path)) == sorted(as_ontology(str(path))) == sorted(ontology)
    assert as_ontology(ontology) is ontology
    with pytest.raises(TypeError, match="DiGraph; pass the path of an OBO file"):
        as_ontology(nx.DiGraph())


@pytest.mark.parametrize(
    "text, relations, message",
    [
        pytest.param("<html>\n<p>403</p>", ("is_a",), "no ontology in OBO format", id="a web page"),
        pytest.param("", ("is_a",), "no ontology in OBO format", id="an empty file"),
        pytest.param("ontology: x\n", ("is_a",), "holds no term", id="a header only"),
        pytest.param(OBO, ("has_part",), r"relations=\('has_part',\) must be some of", id="a relation it lacks"),
        pytest.param(OBO, "is_a", "relations='is_a' must be some of", id="relations as text"),
        pytest.param(OBO, (), r"relations=\(\) must be some of", id="no relation"),
        pytest.param(
            "ontology: x\n\n[Term]\nid: A:1\nname: a\nis_a: A:2\n\n[Term]\nid: A:2\nname: b\nis_a: A:1\n",
            ("is_a",), "circle: A:", id="terms in a circle",
        ),
    ],
)  # fmt: skip
def test_what_is_no_ontology_is_refused(tmp_path, text, relations, message):
    path = tmp_path / "x.obo"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_ontology(path, relations=relations)


@pytest.mark.parametrize("path", ["nowhere.obo", "http://purl.obolibrary.org/obo/cl.obo"])
def test_what_is_no_file_is_never_fetched(path):
    with pytest.raises(FileNotFoundError, match="There is no ontology at"):
        read_ontology(path)


def test_without_obonet_the_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "obonet", None)
    with pytest.raises(ImportError, match=r'pip install "univerce\[ontology\]"'):
        read_ontology(path)


def test_the_cell_ontology(test_data):
    ontology = read_ontology(test_data / "ontology" / "cl.obo")
    names = ["T cell", "CL:0000804", "B cell", "CD8-positive, alpha-beta T cell", "T-lymphocyte", "erythrocyte"]
    ids = resolve_terms(ontology, names)
    assert ids["T cell"] == ids["CL:0000804"] == ids["T-lymphocyte"] == "CL:0000084"
    (above,) = common_ancestors(ontology, [ids["T cell"], ids["B cell"]])
    assert ontology.nodes[above]["name"] == "lymphocyte"
    assert "CL:0000084" in ancestors(ontology, ids["CD8-positive, alpha-beta T cell"])
    assert tree_distances(ontology, [ids["T cell"], ids["B cell"]])[0, 1] in (2, 3)
    with pytest.raises(ValueError, match=r"'CL:0000002' \(obsolete immortal cell line cell; consider CLO:0000019\)"):
        resolve_terms(ontology, ["CL:0000002"])

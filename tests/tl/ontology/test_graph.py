"""Terms of ontologies: resolved, and their relations against brute force."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from tests.helpers.obo import OBO
from univerce.io.obo import read_obo
from univerce.tl.ontology.graph import ancestors, as_ontology, depths, resolve_terms, tree_distances


@pytest.fixture
def path(tmp_path):
    pytest.importorskip("obonet")
    path = tmp_path / "toy.obo"
    path.write_text(OBO)
    return path


@pytest.fixture
def ontology(path):
    return read_obo(path)


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
        pytest.param("T:99", r"1 of 2 labels are not terms of the ontology 'toy' \(toy/1\): 'T:99'", id="unknown id"),
        pytest.param("T cells", "'T cells'", id="nearly a name"),
        pytest.param("shared", r"'shared' \(may be T:2, T:3\)", id="a synonym of two terms"),
        pytest.param("T:9", r"'T:9' \(obsolete something; consider T:3, T:6\)", id="obsolete without replacement"),
    ],
)
def test_names_that_do_not_resolve_are_named(ontology, name, message):
    with pytest.raises(ValueError, match=message):
        resolve_terms(ontology, ["T cell", name], what="labels")


def test_relations_of_the_toy_by_hand(ontology):
    assert ancestors(ontology, "T:4") == {"T:4", "T:2", "T:6", "T:1", "T:0"}
    assert depths(ontology) == {"T:0": 0, "T:1": 1, "T:2": 2, "T:3": 2, "T:4": 3, "T:5": 0, "T:6": 1}
    np.testing.assert_array_equal(
        tree_distances(ontology, ["T:4", "T:3", "T:6", "T:5"]),
        [[0, 3, 1, np.inf], [3, 0, 3, np.inf], [1, 3, 0, np.inf], [np.inf, np.inf, np.inf, 0]],
    )


@pytest.mark.parametrize("seed", range(3))
def test_relations_of_random_graphs_equal_those_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    n = 14
    graph = nx.DiGraph()
    graph.add_nodes_from(map(str, range(n)))
    graph.add_edges_from((str(i), str(j)) for i, j in itertools.combinations(range(n), 2) if rng.random() < 0.15)
    terms = rng.permutation(list(graph)).tolist()
    up = {term: {top: nx.shortest_path_length(graph, term, top) for top in ancestors(graph, term)} for term in terms}
    expected = [
        [min((up[a][t] + up[b][t] for t in up[a].keys() & up[b].keys()), default=np.inf) for b in terms] for a in terms
    ]
    np.testing.assert_array_equal(tree_distances(graph, terms), expected)
    for term, depth in depths(graph).items():
        assert depth == max(len(way) - 1 for root in graph for way in [*nx.all_simple_paths(graph, term, root), [term]])


def test_no_path_leads_through_a_common_subtype():
    graph = nx.DiGraph([("a", "root"), ("b", "mid"), ("mid", "root"), ("both", "a"), ("both", "b")])
    np.testing.assert_array_equal(tree_distances(graph, ["a", "b", "both"]), [[0, 3, 1], [3, 0, 1], [1, 1, 0]])


def test_a_path_or_a_graph_is_an_ontology(path, ontology):
    assert sorted(as_ontology(path)) == sorted(as_ontology(str(path))) == sorted(ontology)
    assert as_ontology(ontology) is ontology
    assert as_ontology("CL").nodes["CL:0000084"]["name"] == "T cell"
    with pytest.raises(TypeError, match="DiGraph; pass 'CL', the path of an OBO file"):
        as_ontology(nx.DiGraph())


def test_the_cell_ontology(test_data):
    ontology = read_obo(test_data / "ontology" / "cl.obo")
    names = ["T cell", "CL:0000804", "B cell", "CD8-positive, alpha-beta T cell", "T-lymphocyte", "erythrocyte"]
    ids = resolve_terms(ontology, names)
    assert ids["T cell"] == ids["CL:0000804"] == ids["T-lymphocyte"] == "CL:0000084"
    assert "CL:0000084" in ancestors(ontology, ids["CD8-positive, alpha-beta T cell"])
    assert tree_distances(ontology, [ids["T cell"], ids["B cell"]])[0, 1] in (2, 3)
    neutrophil = resolve_terms(ontology, ["neutrophil"])["neutrophil"]
    assert tree_distances(ontology, [ids["T cell"], neutrophil])[0, 1] == 6  # 4 through "mature neutrophil"
    with pytest.raises(ValueError, match=r"'CL:0000002' \(obsolete immortal cell line cell; consider CLO:0000019\)"):
        resolve_terms(ontology, ["CL:0000002"])

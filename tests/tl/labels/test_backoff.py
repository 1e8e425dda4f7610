"""Terms above unsure labels, against a plain search of the ontology."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from univerce.tl.labels._backoff import climb, first_sure, make_ladders, right_steps

EDGES = {
    "native": ["cell"],
    "leukocyte": ["native"],
    "lymphocyte": ["leukocyte"],
    "mature": ["native"],
    "T": ["lymphocyte"],
    "B": ["lymphocyte", "mature"],
    "ab T": ["T"],
    "CD4": ["ab T"],
    "CD8": ["ab T", "mature"],
    "monocyte": ["leukocyte"],
}


@pytest.fixture
def ontology():
    graph = nx.DiGraph([(term, parent) for term, parents in EDGES.items() for parent in parents])
    nx.set_node_attributes(graph, {term: f"{term} cell" for term in graph}, "name")
    return graph


CLASSES = ["helper", "killer", "b", "mono", "doublet"]
IDS = ["CD4", "CD8", "B", "monocyte", ""]


def test_ladders_by_hand(ontology):
    ladders = make_ladders(ontology, CLASSES, IDS)
    way = [[ladders.terms[t] for t in rungs] for rungs in ladders.rungs]
    assert way[0] == ["CD4", "ab T", "T", "lymphocyte", "leukocyte", "native"]
    assert way[1] == ["CD8", "ab T", "T", "lymphocyte", "leukocyte", "mature", "native"]
    assert way[4] == []
    assert dict(zip(ladders.terms, ladders.names, strict=True)) == {
        "CD4": "helper", "CD8": "killer", "B": "b", "monocyte": "mono", "ab T": "ab T cell", "T": "T cell",
        "lymphocyte": "lymphocyte cell", "leukocyte": "leukocyte cell", "mature": "mature cell",
        "native": "native cell",
    }  # fmt: skip


def test_terms_that_all_labels_share_say_nothing(ontology):
    ladders = make_ladders(ontology, CLASSES[:3], IDS[:3])
    assert {"lymphocyte", "leukocyte", "native", "cell"}.isdisjoint(ladders.terms)
    assert {"T", "ab T", "mature"} <= set(ladders.terms)


def test_a_term_of_two_labels_has_the_name_of_neither(ontology):
    ladders = make_ladders(ontology, ["naive", "memory", "b"], ["CD4", "CD4", "B"])
    assert ladders.names[ladders.terms.index("CD4")] == "CD4 cell"
    assert ladders.members[:, ladders.terms.index("CD4")].tolist() == [True, True, False]


def test_labels_without_any_common_path_have_no_terms(ontology):
    ladders = make_ladders(ontology, ["a", "b"], ["", ""])
    values, terms = climb(np.array([[0.6, 0.4]]), np.array([0]), ladders)
    assert (values.tolist(), terms.tolist()) == ([[0.6]], [[-1]])
    assert right_steps(np.array([1]), np.array([0]), terms, ladders).tolist() == [[False]]


@pytest.mark.parametrize("threshold", [0.35, 0.6, 0.9, 0.999])
def test_an_unsure_cell_gets_the_deepest_sure_ancestor(ontology, threshold):
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.full(5, 0.6), size=80)
    truth = rng.integers(5, size=80)
    best = proba.argmax(axis=1)
    ladders = make_ladders(ontology, CLASSES, IDS)
    values, terms = climb(proba, best, ladders)
    right = right_steps(truth, best, terms, ladders)
    steps = first_sure(values, threshold)
    depth = {t: len(nx.dag_longest_path(ontology.subgraph({t} | nx.descendants(ontology, t)))) for t in ontology}
    climbed = 0
    for i, step in enumerate(steps):
        if proba[i, best[i]] >= threshold:
            assert step == 0
            assert right[i, 0] == (truth[i] == best[i])
            continue
        sums = {}
        for term in ({IDS[best[i]]} | nx.descendants(ontology, IDS[best[i]])) - {"cell"} if IDS[best[i]] else ():
            below = [k for k in range(5) if IDS[k] and (IDS[k] == term or nx.has_path(ontology, IDS[k], term))]
            sums[term] = (sum(proba[i, k] for k in below), below)
        sure = [term for term, (total, _) in sums.items() if total >= threshold]
        if not sure:
            assert step == -1
            continue
        climbed += 1
        deepest = max(depth[term] for term in sure)
        term = ladders.terms[terms[i, step]]
        assert term in sure
        assert depth[term] == deepest
        assert values[i, step] == pytest.approx(sums[term][0])
        assert right[i, step] == (truth[i] in sums[term][1])
    assert climbed > 0

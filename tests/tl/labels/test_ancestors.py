"""Ancestors of uncertain labels, against a plain search of the ontology."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from univerce.io.cell_ontology import read_cell_ontology
from univerce.io.obo import read_obo
from univerce.tl.labels._ancestors import Ancestors, candidates, correct_candidates, find_ancestors, first_confident
from univerce.tl.ontology.graph import UPPER_TERMS

PARENTS = {
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
CLASSES = ["helper", "killer", "b", "mono", "doublet"]
IDS = ["CD4", "CD8", "B", "monocyte", ""]


@pytest.fixture
def ontology():
    graph = nx.DiGraph([(term, parent) for term, parents in PARENTS.items() for parent in parents])
    nx.set_node_attributes(graph, {term: f"{term} cell" for term in graph}, "name")
    return graph


def test_ancestors_by_hand(ontology):
    found = find_ancestors(ontology, CLASSES, IDS)
    above = [[found.terms[t] for t in terms] for terms in found.of_class]
    assert above[0] == ["CD4", "ab T", "T", "lymphocyte"]
    assert above[1] == ["CD8", "ab T", "T", "lymphocyte", "mature"]
    assert above[4] == []
    names = {t: f"{t} cell" for t in ("ab T", "T", "lymphocyte", "mature")}
    names |= {"CD4": "helper", "CD8": "killer", "B": "b", "monocyte": "mono"}
    assert dict(zip(found.terms, found.names, strict=True)) == names


def test_terms_of_all_labels_are_left_out_and_a_shared_term_keeps_its_name(ontology):
    """A label without a term, the last, does not change which terms all others share."""
    terms = set(find_ancestors(ontology, CLASSES[:3], IDS[:3]).terms)
    assert set(find_ancestors(ontology, [*CLASSES[:3], "doublet"], [*IDS[:3], ""]).terms) == terms
    assert {"lymphocyte", "leukocyte", "native", "cell"}.isdisjoint(terms)
    assert {"T", "ab T", "mature"} <= terms
    found = find_ancestors(ontology, ["naive", "memory", "b"], ["CD4", "CD4", "B"])
    assert found.names[found.terms.index("CD4")] == "CD4 cell"
    assert found.members[:, found.terms.index("CD4")].tolist() == [True, True, False]


def test_upper_terms_of_the_cell_ontology_are_never_given():
    """Two unlike cells meet in terms that sort cells by one property."""
    cl = read_cell_ontology()
    ids = ["CL:0000235", "CL:0000540", "CL:0000066", "CL:0000084"]  # macrophage, neuron, epithelial cell, T cell
    found = find_ancestors(cl, ["a", "b", "c", "d"], ids)
    shared = [name for name, n in zip(found.names, found.members.sum(axis=0), strict=True) if n > 1]
    assert sorted(shared) == ["hematopoietic cell", "leukocyte", "mononuclear leukocyte"]
    assert {"nucleate cell", "motile cell", "eukaryotic cell", "cell"}.isdisjoint(found.names)


@pytest.mark.parametrize("release", ["2019", "2026"])
def test_upper_terms_are_called_so_in_the_ontology(release, request):
    cl = (
        read_cell_ontology()
        if release == "2026"
        else read_obo(request.getfixturevalue("test_data") / "ontology/cl.obo")
    )
    renamed = {"embryonic cell", "supportive cell", "circulating cell", "cell in vitro", "multi-nucleate cell"}
    names = {cl.nodes[t]["name"]: name for t, name in UPPER_TERMS.items() if t in cl}
    assert len(names) > 25
    assert {theirs for theirs, ours in names.items() if theirs != ours} <= renamed


def test_without_terms_the_label_is_the_only_candidate(ontology):
    for ancestors in (find_ancestors(ontology, ["a", "b"], ["", ""]), Ancestors.none(["", ""])):
        values, terms = candidates(np.array([[0.6, 0.4]]), np.array([0]), ancestors)
        assert (values.tolist(), terms.tolist()) == ([[0.6]], [[-1]])
        assert correct_candidates(np.array([1]), np.array([0]), terms, ancestors).tolist() == [[False]]
    assert first_confident(values, np.nan).tolist() == [0]


@pytest.mark.parametrize("threshold", [0.35, 0.6, 0.9])
def test_an_uncertain_cell_gets_its_deepest_confident_ancestor(ontology, threshold):
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.full(5, 0.6), size=80)
    truth = rng.integers(5, size=80)
    best = proba.argmax(axis=1)
    ancestors = find_ancestors(ontology, CLASSES, IDS)
    values, terms = candidates(proba, best, ancestors)
    correct = correct_candidates(truth, best, terms, ancestors)
    first = first_confident(values, threshold)
    depth = {t: len(nx.dag_longest_path(ontology.subgraph({t} | nx.descendants(ontology, t)))) for t in ontology}
    n_ancestors = 0
    for i, column in enumerate(first):
        if proba[i, best[i]] >= threshold:
            assert column == 0
            assert correct[i, 0] == (truth[i] == best[i])
            continue
        sums = {}
        for term in (
            ({IDS[best[i]]} | nx.descendants(ontology, IDS[best[i]])) - {"cell", "native", "leukocyte"}
            if IDS[best[i]]
            else ()
        ):
            below = [k for k in range(5) if IDS[k] and (IDS[k] == term or nx.has_path(ontology, IDS[k], term))]
            sums[term] = (sum(proba[i, k] for k in below), below)
        confident = [term for term, (total, _) in sums.items() if total >= threshold]
        if not confident:
            assert column == -1
            continue
        n_ancestors += 1
        term = ancestors.terms[terms[i, column]]
        assert term in confident
        assert depth[term] == max(depth[each] for each in confident)
        assert values[i, column] == pytest.approx(sums[term][0])
        assert correct[i, column] == (truth[i] in sums[term][1])
    assert n_ancestors > 0

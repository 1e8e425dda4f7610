"""Ancestors of labels in an ontology, for cells whose label is uncertain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from univerce.tl.ontology import graph

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Ancestors:
    """For each class the ontology terms that it is a kind of."""

    class_ids: list[str]
    """Term of each class, ``""`` for none."""
    terms: list[str]
    """Ids of all ancestors, the deepest first."""
    names: list[str]
    """Name of each ancestor: that of the class if the term belongs to one class alone."""
    members: np.ndarray
    """``[n_classes, n_terms]`` whether a class is a kind of the term."""
    of_class: list[np.ndarray]
    """Ancestors of each class as positions in ``terms``, the deepest first."""

    @classmethod
    def none(cls, n_classes: int) -> Self:
        """No ontology: no class has an ancestor."""
        empty = np.empty(0, dtype=int)
        return cls([""] * n_classes, [], [], np.zeros((n_classes, 0), dtype=bool), [empty] * n_classes)


def find_ancestors(ontology: nx.DiGraph, classes: Sequence[str], ids: Sequence[str]) -> Ancestors:
    """Find the ancestors of classes by their terms ``ids``; ``""`` is a class without term and ancestors.

    The roots and the terms that all classes are kinds of are left out: every cell would reach them.
    """
    above = [graph.ancestors(ontology, term) if term else set() for term in ids]
    shared = set.intersection(*above)
    depth = graph.depths(ontology)
    terms = sorted((t for t in set().union(*above) - shared if depth[t] > 0), key=lambda t: (-depth[t], t))
    members = np.array([[t in up for t in terms] for up in above], dtype=bool).reshape(len(classes), len(terms))
    n_classes = Counter(ids)
    class_of = {term: name for name, term in zip(classes, ids, strict=True) if n_classes[term] == 1}
    names = [class_of.get(t, ontology.nodes[t]["name"]) for t in terms]
    return Ancestors(list(ids), terms, names, members, [np.flatnonzero(row) for row in members])


def candidates(proba: np.ndarray, best: np.ndarray, ancestors: Ancestors) -> tuple[np.ndarray, np.ndarray]:
    """Sum the probabilities ``[n, n_classes]`` of the best class ``[n]`` and of each of its ancestors.

    Returns ``[n, n_candidates]`` probability of the class (first) and of each ancestor, NaN beyond the last, and the
    terms, -1 for the class itself.
    """
    n_candidates = 1 + max(map(len, ancestors.of_class), default=0)
    values, terms = np.full((len(best), n_candidates), np.nan), np.full((len(best), n_candidates), -1)
    for k, mine in enumerate(ancestors.of_class):
        rows, columns = np.flatnonzero(best == k), slice(1, 1 + len(mine))
        values[rows, 0] = proba[rows, k]
        values[rows, columns] = proba[rows] @ ancestors.members[:, mine]
        terms[rows, columns] = mine
    return values, terms


def first_confident(values: np.ndarray, threshold: float) -> np.ndarray:
    """``[n]`` first candidate of each cell that reaches the threshold, -1 for none; NaN takes the class itself."""
    if np.isnan(threshold):
        return np.zeros(len(values), dtype=np.int64)
    enough = values >= threshold
    return np.where(enough.any(axis=1), enough.argmax(axis=1), -1)


def correct_candidates(truth: np.ndarray, best: np.ndarray, terms: np.ndarray, ancestors: Ancestors) -> np.ndarray:
    """``[n, n_candidates]`` whether each of :func:`candidates` is the true class or an ancestor of it."""
    correct = np.zeros(terms.shape, dtype=bool)
    if ancestors.terms:
        correct = np.where(terms >= 0, ancestors.members[truth[:, None], np.maximum(terms, 0)], False)
    correct[:, 0] = truth == best
    return correct

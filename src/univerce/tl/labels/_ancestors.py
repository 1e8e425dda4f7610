"""Ancestors of labels in an ontology, for cells whose label is uncertain, and the terms of the labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from univerce._settings import logger
from univerce.tl.ontology import graph
from univerce.tl.ontology.graph import match_terms, resolve_terms, vacuous_terms
from univerce.tl.ontology.terms import stated_terms

if TYPE_CHECKING:
    import networkx as nx

_ID = re.compile(r"[A-Za-z]+:\w+")


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
    def none(cls, class_ids: list[str]) -> Self:
        """No ontology: no class has an ancestor."""
        n, empty = len(class_ids), np.empty(0, dtype=int)
        return cls(class_ids, [], [], np.zeros((n, 0), dtype=bool), [empty] * n)

    def lines(self, ontology: nx.DiGraph) -> np.ndarray:
        """``[n_classes, n_terms]`` term of each class and the ancestors that say something, shared by all or not."""
        return _memberships(_lines(ontology, self.class_ids))[1]


def find_ancestors(ontology: nx.DiGraph, classes: Sequence[str], ids: Sequence[str]) -> Ancestors:
    """Find the ancestors of classes by their terms ``ids``; ``""`` is a class without term and ancestors.

    Terms that name no kind of cell, and those of all classes with a term, are left out: every cell would reach them.
    """
    above = _lines(ontology, ids)
    known = [up for term, up in zip(ids, above, strict=True) if term]
    shared = set.intersection(*known) if known else set()
    depth = graph.depths(ontology)
    terms, members = _memberships([up - shared for up in above], key=lambda t: (-depth[t], t))
    n_classes = Counter(ids)
    class_of = {term: name for name, term in zip(classes, ids, strict=True) if n_classes[term] == 1}
    names = [class_of.get(t, ontology.nodes[t]["name"]) for t in terms]
    return Ancestors(list(ids), terms, names, members, [np.flatnonzero(row) for row in members])


def _lines(ontology: nx.DiGraph, ids: Sequence[str]) -> list[set[str]]:
    """Each term and its ancestors that name a kind of cell; nothing for ``""``."""
    vacuous = vacuous_terms(ontology)
    return [{term} | (graph.ancestors(ontology, term) - vacuous) if term else set() for term in ids]


def _memberships(above: list[set[str]], key: Any = None) -> tuple[list[str], np.ndarray]:
    """All terms in order, and ``[n_classes, n_terms]`` whether each is above a class."""
    terms = sorted(set().union(*above), key=key)
    members = np.array([[t in up for t in terms] for up in above], dtype=bool).reshape(len(above), len(terms))
    return terms, members


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


def get_ancestors(
    classes: pd.DataFrame, ontology: nx.DiGraph | None, ontology_ids: str | Mapping[str, str] | None
) -> Ancestors:
    """Find the terms of the labels, and their ancestors.

    Stated terms must exist. Without any, look up the labels themselves and log those that are not terms.
    Without an ontology, stated ids are kept and have no ancestors.
    """
    names = list(classes.index)
    given = stated_terms(ontology_ids if isinstance(ontology_ids, Mapping) else classes["ontology_id"])
    if ontology is None:
        ids = [given.get(name, "") for name in names]
        return Ancestors.none([term if _ID.fullmatch(term) else "" for term in ids])
    what = "terms of labels (ontology_ids=)"
    if any(name in given for name in names):
        terms = [given.get(name, "") for name in names]
        resolved = resolve_terms(ontology, filter(None, terms), what=what)
        return find_ancestors(ontology, names, [resolved[term] if term else "" for term in terms])
    if ontology_ids is not None:
        raise ValueError(f"ontology_ids= has a term for none of the labels {', '.join(map(repr, names[:10]))}.")
    found = match_terms(ontology, names)["term_id"]
    if (found == "").all():
        resolve_terms(ontology, names, what=what)  # raises with hints
    if missing := [name for name in names if found[name] == ""]:
        logger.warning(
            "%d of %d labels are not terms of the ontology, so nothing replaces them: %s. Pass ontology_ids=.",
            len(missing), len(names), ", ".join(map(repr, missing[:10])),
        )  # fmt: skip
    return find_ancestors(ontology, names, [str(found[name]) for name in names])

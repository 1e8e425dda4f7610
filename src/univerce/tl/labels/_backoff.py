"""From a class that is unsure to a term of the ontology that is sure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from univerce.tl.ontology.graph import ancestors, depths

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Ladders:
    """For each class the terms that it is a kind of, from the most specific upwards."""

    terms: list[str]
    """Ids of all terms on any ladder."""
    names: list[str]
    """What a cell on each term is called: the one class that stands for the term, else the term's own name."""
    members: np.ndarray
    """``[n_classes, n_terms]`` whether a class is a kind of the term."""
    rungs: list[np.ndarray]
    """Terms of each class, as positions in ``terms``."""


def make_ladders(ontology: nx.DiGraph, classes: Sequence[str], ids: Sequence[str]) -> Ladders:
    """The ladders of some classes.

    Left out are terms that say nothing: the roots, and those that all classes are kinds of, which any cell would reach,
    whatever it is.

    Parameters
    ----------
    ontology
        Graph of :func:`univerce.tl.ontology.graph.read_obo`.
    classes
        Names of the classes.
    ids
        Term of each class, or ``""`` for a class without one, which has no ladder.
    """
    above = [ancestors(ontology, term) if term else set() for term in ids]
    everything = set.intersection(*above)
    depth = depths(ontology)
    terms = sorted((t for t in set().union(*above) - everything if depth[t] > 0), key=lambda t: (-depth[t], t))
    members = np.array([[t in up for t in terms] for up in above], dtype=bool).reshape(len(classes), len(terms))
    shared = Counter(ids)
    own = {term: name for name, term in zip(classes, ids, strict=True) if shared[term] == 1}
    names = [own.get(t, ontology.nodes[t]["name"]) for t in terms]
    return Ladders(terms, names, members, [np.flatnonzero(row) for row in members])


def climb(proba: np.ndarray, best: np.ndarray, ladders: Ladders) -> tuple[np.ndarray, np.ndarray]:
    """How sure the classes and the terms above them are.

    Parameters
    ----------
    proba
        ``[n, n_classes]``.
    best
        ``[n]`` class of each cell.
    ladders
        Terms above the classes.

    Returns
    -------
    ``[n, n_steps]`` summed probability of the class (first) and of each term above it, NaN beyond the last, and the
    terms, -1 for the class itself.
    """
    n_steps = 1 + max(map(len, ladders.rungs), default=0)
    values, terms = np.full((len(best), n_steps), np.nan), np.full((len(best), n_steps), -1)
    for k, rungs in enumerate(ladders.rungs):
        here = np.flatnonzero(best == k)
        values[here, 0] = proba[here, k]
        steps = slice(1, 1 + len(rungs))
        values[here, steps] = proba[here] @ ladders.members[:, rungs]
        terms[here, steps] = rungs
    return values, terms


def first_sure(values: np.ndarray, threshold: float) -> np.ndarray:
    """``[n]`` first step of each cell whose value reaches the threshold, -1 when none does."""
    sure = values >= threshold
    return np.where(sure.any(axis=1), sure.argmax(axis=1), -1)


def right_steps(truth: np.ndarray, best: np.ndarray, terms: np.ndarray, ladders: Ladders) -> np.ndarray:
    """``[n, n_steps]`` whether each step of :func:`climb` is right: the true class, or a term that it is a kind of."""
    out = (
        np.where(terms >= 0, ladders.members[truth[:, None], np.maximum(terms, 0)], False)
        if ladders.terms
        else terms >= 0
    )
    out[:, 0] = truth == best
    return out

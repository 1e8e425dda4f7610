"""The label of a cell from the probabilities of all labels: the best, an ancestor, a set (split conformal), or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from univerce.tl.labels._ancestors import Ancestors, candidates, first_confident


class Decision(NamedTuple):
    """What ``n`` cells are called."""

    label: np.ndarray
    """``[n]`` class, -1 for none."""
    term: np.ndarray
    """``[n]`` ancestor instead of a class, -1 for none."""
    confidence: np.ndarray
    """``[n]`` probability of the label or ancestor, and of the best class where there is none."""
    sets: np.ndarray
    """``[n, n_bytes]`` bits of the classes in the set of a cell; no column if sets are not asked for."""


@dataclass(frozen=True, eq=False)
class Threshold:
    """The first of a class and its ancestors whose probability reaches a threshold; NaN takes the class."""

    ancestors: Ancestors
    threshold: float

    def __call__(self, proba: np.ndarray, best: np.ndarray) -> Decision:
        """Decide from ``[n, n_classes]`` and the best class ``[n]``."""
        values, terms = candidates(proba, best, self.ancestors)
        first = first_confident(values, self.threshold)
        chosen = np.arange(len(best)), np.maximum(first, 0)
        term = np.where(first > 0, terms[chosen], -1)
        return Decision(np.where(first == 0, best, -1), term, values[chosen], np.empty((len(best), 0), np.uint8))


@dataclass(frozen=True, eq=False)
class LabelSets:
    """The label of a set of one, otherwise the smallest term that covers the set."""

    ancestors: Ancestors
    cutoffs: np.ndarray
    """``[n_classes]``."""

    def __call__(self, proba: np.ndarray, best: np.ndarray) -> Decision:
        """Decide from ``[n, n_classes]`` and the best class ``[n]``."""
        sets = label_sets(proba, self.cutoffs)
        label, term = read_sets(sets, self.ancestors)
        confidence = proba[np.arange(len(best)), best]
        one, several = label >= 0, term >= 0
        confidence[one] = proba[one, label[one]]
        confidence[several] = np.einsum("nk,kn->n", proba[several], self.ancestors.members[:, term[several]])
        return Decision(label, term, confidence, np.packbits(sets, axis=1))


def read_sets(sets: np.ndarray, ancestors: Ancestors) -> tuple[np.ndarray, np.ndarray]:
    """``[n]`` class of sets ``[n, n_classes]`` of one, and ``[n]`` smallest covering term of larger ones, else -1."""
    size = sets.sum(axis=1)
    label = np.where(size == 1, sets.argmax(axis=1), -1)
    term = np.full(len(sets), -1)
    if ancestors.terms:
        rows = np.flatnonzero(size > 1)
        inside = sets[rows].astype(np.float32) @ ancestors.members.astype(np.float32)
        n_members = ancestors.members.sum(axis=0)
        n_labels = np.where(inside == size[rows, None], n_members, np.inf)  # terms are sorted, the deepest first
        smallest = n_labels.argmin(axis=1)
        term[rows] = np.where(np.isfinite(n_labels[np.arange(len(rows)), smallest]), smallest, -1)
    return label, term


def set_cutoffs(proba: np.ndarray, truth: np.ndarray, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Find the least probability at which each label is in the set of a cell.

    Of the ``n`` held-out cells of a label, ``floor((n + 1) * (1 - coverage))`` may miss it. A new cell of the label
    that is exchangeable with them then has it in its set with a probability of at least ``coverage`` (Vovk 2012;
    Sadinle et al. 2019). Labels with too few cells for that take the cutoff of all cells. Returns ``[n_classes]``
    cutoffs, and whether they come from cells of the label.
    """
    true = proba[np.arange(len(truth)), truth]
    n_classes = proba.shape[1]
    cutoffs, own = np.full(n_classes, _cutoff(true, coverage)), np.zeros(n_classes, dtype=bool)
    for k in np.unique(truth):
        mine = true[truth == k]
        if _n_missed(len(mine), coverage) > 0:
            cutoffs[k], own[k] = _cutoff(mine, coverage), True
    return cutoffs, own


def _n_missed(n: int, coverage: float) -> int:
    return int(np.floor((n + 1) * (1 - coverage) + 1e-9))


def _cutoff(true: np.ndarray, coverage: float) -> float:
    n = _n_missed(len(true), coverage)
    return float(np.partition(true, n - 1)[n - 1]) if n > 0 else 0.0


def label_sets(proba: np.ndarray, cutoffs: np.ndarray) -> np.ndarray:
    """``[n, n_classes]`` whether each label is in the set of a cell; impossible labels never are, the best always is.

    Where nearly all held-out cells are right, cutoffs are close to one, and cells of another data set would have no
    label at all.
    """
    sets = (proba >= cutoffs) & (proba > 0)
    sets[np.arange(len(proba)), proba.argmax(axis=1)] = True
    return sets


def cross_sets(proba: np.ndarray, truth: np.ndarray, folds: np.ndarray, coverage: float) -> np.ndarray:
    """``[n, n_classes]`` sets of held-out cells, each fold with the cutoffs of the others."""
    sets = np.zeros(proba.shape, dtype=bool)
    for fold in np.unique(folds):
        here = folds == fold
        others = ~here if not here.all() else here
        sets[here] = label_sets(proba[here], set_cutoffs(proba[others], truth[others], coverage)[0])
    return sets

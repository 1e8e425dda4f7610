"""Sets of labels that hold the true one with a chosen probability (split conformal prediction, for each label)."""

from __future__ import annotations

import numpy as np


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

"""Scores of arrays: classifiers and centroids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import f1_score

from univerce.embeddings.classifiers import held_out_log_proba
from univerce.embeddings.ranks import rank_reference

_JITTER = 1e-4


def separated(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Move equal rows apart by a ten-thousandth of the spread of the embedding; other rows are unchanged.

    The neighbors among more than 90 equal cells depend on their order, and scib-metrics ignores distances of zero.
    """
    _, first = np.unique(x, axis=0, return_index=True)
    again = np.setdiff1d(np.arange(len(x)), first)
    if len(again) == 0:
        return x
    spread = float(np.sqrt(np.var(x, axis=0, dtype=np.float64).mean())) or 1.0
    out = x.copy()
    out[again] += (_JITTER * spread * np.random.default_rng(seed).normal(size=(len(again), x.shape[1]))).astype(x.dtype)
    return out


def rotated(x: np.ndarray) -> np.ndarray:
    """``[n, min(n, n_dims)]`` the points in coordinates of their span; distances and inner products are unchanged."""
    if x.shape[1] <= x.shape[0]:
        return x
    upper: np.ndarray = np.asarray(np.linalg.qr(x.T.astype(np.float64), mode="r"))
    return np.ascontiguousarray(upper.T, dtype=np.float32)


def predicted_labels(x: np.ndarray, y: np.ndarray, folds: np.ndarray, method: str) -> np.ndarray:
    """``[n]`` label of each cell by a classifier fitted on the other folds; -1 if they do not have its type."""
    out = np.full(len(y), -1)
    for rows, log_proba in held_out_log_proba(method, x, y, int(y.max()) + 1, folds):
        if len(rows):
            out[rows] = log_proba.argmax(axis=1)
    return out


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """F1 averaged over the types that occur."""
    return float(f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))


def centroid_hits(
    query: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray], ks: Sequence[int]
) -> tuple[np.ndarray, int]:
    """Count the shared types whose centroid in the query has that in the reference among the ``k`` nearest.

    Both sides are points ``[n, n_dims]`` and types ``[n]``. Returns hits for each ``k`` and the number of shared types.
    """
    (x, types), (x_reference, types_reference) = _centroids(*query), _centroids(*reference)
    shared, i, j = np.intersect1d(types, types_reference, return_indices=True)
    if len(shared) == 0:
        return np.zeros(len(ks)), 0
    ranks = rank_reference(x, x_reference).rank_cross[i, j]
    return np.array([(ranks <= k).sum() for k in ks], dtype=float), len(shared)


def _centroids(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each type in float64, and the types, ascending."""
    types = np.unique(y)
    return np.array([x[y == t].mean(axis=0, dtype=np.float64) for t in types]), types


def batch_alignment(x: np.ndarray, y: np.ndarray, batches: np.ndarray, ks: Sequence[int]) -> tuple[np.ndarray, int]:
    """Share of :func:`centroid_hits` over all ordered pairs of batches, and the number of types searched for."""
    hits, n = np.zeros(len(ks)), 0
    parts = [(x[batches == b], y[batches == b]) for b in np.unique(batches)]
    for i, query in enumerate(parts):
        for reference in parts[:i] + parts[i + 1 :]:
            found, searched = centroid_hits(query, reference, ks)
            hits, n = hits + found, n + searched
    return hits / n if n else np.full(len(ks), np.nan), n

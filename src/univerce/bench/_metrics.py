"""Scores of arrays: classifiers and centroids."""

from __future__ import annotations

import numpy as np

from univerce.embeddings.classifiers import among_best, held_out_models
from univerce.embeddings.ranks import rank_reference

TOP = (1, 3)
_JITTER = 1e-4


def separated(x: np.ndarray) -> np.ndarray:
    """Move equal rows apart by a ten-thousandth of the spread of the embedding; other rows are unchanged.

    The neighbors among more than 90 equal cells depend on their order, and scib-metrics ignores distances of zero.
    """
    _, first = np.unique(x, axis=0, return_index=True)
    again = np.setdiff1d(np.arange(len(x)), first)
    if len(again) == 0:
        return x
    spread = float(np.sqrt(np.var(x, axis=0, dtype=np.float64).mean())) or 1.0
    out = x.copy()
    out[again] += (_JITTER * spread * np.random.default_rng(0).normal(size=(len(again), x.shape[1]))).astype(x.dtype)
    return out


def rotated(x: np.ndarray) -> np.ndarray:
    """``[n, min(n, n_dims)]`` the points in coordinates of their span; distances and inner products are unchanged."""
    if x.shape[1] <= x.shape[0]:
        return x
    upper: np.ndarray = np.asarray(np.linalg.qr(x.T.astype(np.float64), mode="r"))
    return np.ascontiguousarray(upper.T, dtype=np.float32)


def predicted_labels(x: np.ndarray, y: np.ndarray, folds: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """``[n]`` label of each cell by a classifier fitted on the other folds, and whether its type is among the best 3.

    -1 and NaN if the other folds do not have its type.
    """
    out, in_top = np.full(len(y), -1), np.full(len(y), np.nan)
    for rows, model in held_out_models(method, x, y, int(y.max()) + 1, folds):
        if model is not None:
            log_proba = model.log_proba(x[rows])
            out[rows], in_top[rows] = log_proba.argmax(axis=1), among_best(log_proba, y[rows], TOP[-1])
    return out, in_top


def pairs_of(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of a true and a predicted type that occur, ``[n_pairs]`` each, and the pair of each cell ``[n]``."""
    pairs, place = np.unique(np.column_stack([truth, predicted]), axis=0, return_inverse=True)
    return pairs[:, 0], pairs[:, 1], place.ravel()


def macro_f1(truth: np.ndarray, predicted: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """``[n]`` F1 averaged over the true types that occur, for pairs of types with ``counts`` ``[n, n_pairs]`` cells.

    Without counts every pair is a cell, and ``n`` is 1.
    """
    counts = np.ones((1, len(truth))) if counts is None else counts
    types, both = np.unique(np.concatenate([truth, predicted])), counts * (truth == predicted)
    is_true, is_given = (np.equal.outer(x, types).astype(float) for x in (truth, predicted))
    n_true = counts @ is_true
    f1 = np.divide(2 * (both @ is_true), n_true + counts @ is_given, out=np.zeros_like(n_true), where=n_true > 0)
    return np.asarray(f1.sum(axis=1) / (n_true > 0).sum(axis=1))


def centroid_ranks(
    query: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Rank, from 1, of the centroid in the reference among those nearest to that in the query, and the shared types.

    Both sides are points ``[n, n_dims]`` and types ``[n]``.
    """
    (x, types), (x_reference, types_reference) = _centroids(*query), _centroids(*reference)
    shared, i, j = np.intersect1d(types, types_reference, return_indices=True)
    if len(shared) == 0:
        return np.zeros(0, dtype=np.int64), shared
    return np.asarray(rank_reference(x, x_reference).rank_cross[i, j]), shared


def _centroids(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each type in float64, and the types, ascending."""
    types = np.unique(y)
    return np.array([x[y == t].mean(axis=0, dtype=np.float64) for t in types]), types


def batch_ranks(x: np.ndarray, y: np.ndarray, batches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`centroid_ranks` over all ordered pairs of batches: ranks and types of all searches."""
    parts = [(x[batches == b], y[batches == b]) for b in np.unique(batches)]
    found = [centroid_ranks(a, b) for i, a in enumerate(parts) for j, b in enumerate(parts) if i != j]
    ranks, types = zip(*found, strict=True)
    return np.concatenate(ranks), np.concatenate(types)

"""An embedding made fit for scores that its shape would break or slow down; distances stay what they are."""

from __future__ import annotations

import numpy as np

_JITTER = 1e-4


def separate(x: np.ndarray, seed: int = 0) -> np.ndarray:
    """Equal rows moved apart by a ten-thousandth of the spread of the embedding; all others stay as they are.

    With more than 90 cells on one point, which of them are neighbors, and with it most scores, would be an accident of
    their order, and distances of zero are no edges of the graphs of scib-metrics.
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
    """``[n, min(n, n_dims)]`` the same points in coordinates of their own span, when there are more columns than rows.

    Distances and inner products stay as they are, and with them neighbors, silhouettes, clusters and what a
    regularized linear classifier finds.
    """
    if x.shape[1] <= x.shape[0]:
        return x
    upper: np.ndarray = np.asarray(np.linalg.qr(x.T.astype(np.float64), mode="r"))
    return np.ascontiguousarray(upper.T, dtype=np.float32)

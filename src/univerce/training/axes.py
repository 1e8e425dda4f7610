"""Axes of a bag that separate the cells of one data set, fitted without labels."""

from __future__ import annotations

import numpy as np
from scipy import sparse

_N_NEIGHBORS = 10
_N_COMPONENTS = 20
_RIDGE = 0.2
_EXPONENT = 0.75


def noise_adjusted_axes(
    bags: np.ndarray, expression: sparse.csr_matrix, sets: np.ndarray, n_components: int
) -> np.ndarray:
    """Compute the axes along which cells vary within a data set, relative to how similar cells vary.

    The difference between a cell and the mean of its nearest neighbors in its data set is noise: the depth of the cell,
    dropout, the cell cycle. The rest of the variance within data sets is signal. Differences between whole data sets
    are neither and are ignored.

    Parameters
    ----------
    bags
        ``[n_cells, dim]``.
    expression
        ``[n_cells, n_genes]`` log-normalized; neighbors are found in it.
    sets
        ``[n_cells]`` data set of each cell.
    n_components
        Number of axes.

    Returns
    -------
    ``[n_components, dim]`` float32, in falling order of the ratio ``r`` of signal to noise. The noise of an axis is
    scaled to 1 and the axis to ``r^0.75 / (1 + r)``. Rows without signal, or beyond ``dim``, are zero.
    """
    dim = bags.shape[1]
    noise, total = np.zeros((dim, dim)), np.zeros((dim, dim))
    for k in np.unique(sets):
        mine = np.flatnonzero(sets == k)
        if len(mine) < 2:
            continue
        own = bags[mine].astype(np.float64)
        neighbors = nearest_cells(expression[mine])
        n = neighbors.shape[1]
        apart = own - own[neighbors].mean(axis=1)
        noise += apart.T @ apart * (n / (n + 1))  # the mean of n neighbors is noisy, too
        own -= own.mean(axis=0)
        total += own.T @ own
    signal = total - noise
    noise += (_RIDGE * np.trace(noise) / dim + np.finfo(np.float64).tiny) * np.eye(dim)
    values, vectors = np.linalg.eigh(noise)
    whiten = vectors / np.sqrt(np.maximum(values, np.finfo(np.float64).tiny))
    ratio, axes = np.linalg.eigh(whiten.T @ signal @ whiten)
    ratio = np.maximum(ratio[::-1][:n_components], 0)
    scaled = (whiten @ axes[:, ::-1][:, :n_components]).T * (ratio**_EXPONENT / (1 + ratio))[:, None]
    out = np.zeros((n_components, dim), dtype=np.float32)
    out[: len(scaled)] = scaled
    return out


def nearest_cells(expression: sparse.csr_matrix) -> np.ndarray:
    """Find the nearest other cells of two or more cells on principal components, ``[n_cells, n_neighbors]``."""
    n = expression.shape[0]
    gram = (expression @ expression.T).toarray().astype(np.float64)
    gram -= gram.mean(axis=0)
    gram -= gram.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(gram)
    kept = slice(max(0, n - _N_COMPONENTS), n)
    scores = vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0))
    square = np.square(scores).sum(axis=1)
    distance = square[:, None] + square - 2 * scores @ scores.T
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1, kind="stable")[:, : min(_N_NEIGHBORS, n - 1)]

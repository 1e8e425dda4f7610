"""Axes that separate the cells of one data set, fitted without labels.

The difference between a cell and the mean of its nearest neighbors in its data set is noise: the depth of the cell,
dropout, the cell cycle. The rest of the variance within data sets is signal. Differences between whole data sets are
neither and are ignored.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

N_NEIGHBORS = 10
_N_COMPONENTS = 20
_N_VARIABLE = 2000


def nearest_cells(expression: sparse.csr_matrix) -> np.ndarray:
    """Find the nearest other cells of two or more cells, ``[n_cells, n_neighbors]``.

    On 20 principal components of the 2,000 most variable genes of log-normalized ``expression`` ``[n_cells, n_genes]``.
    """
    n = expression.shape[0]
    square = np.asarray(expression.multiply(expression).mean(axis=0)).ravel()
    variance = square - np.asarray(expression.mean(axis=0)).ravel() ** 2
    variable = np.sort(np.argsort(-variance, kind="stable")[:_N_VARIABLE])
    gram = (expression[:, variable] @ expression[:, variable].T).toarray().astype(np.float64)
    gram -= gram.mean(axis=0)
    gram -= gram.mean(axis=1, keepdims=True)
    values, vectors = linalg.eigh(gram, subset_by_index=(max(0, n - _N_COMPONENTS), n - 1))
    scores = vectors * np.sqrt(np.maximum(values, 0))
    square = np.square(scores).sum(axis=1)
    distance = square[:, None] + square - 2 * scores @ scores.T
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1, kind="stable")[:, : min(N_NEIGHBORS, n - 1)]


def scatter(values: np.ndarray, neighbors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scatter matrices of the noise and of all variance of one data set, ``[dim, dim]`` float64 each.

    ``values`` are ``[n_cells, dim]``, ``neighbors`` those of :func:`nearest_cells`.
    """
    n = neighbors.shape[1]
    apart = values - values[neighbors].mean(axis=1)
    centered = values - values.mean(axis=0)
    # The mean of n neighbors is noisy, too.
    return (apart.T @ apart).astype(np.float64) * (n / (n + 1)), (centered.T @ centered).astype(np.float64)


def noise_adjusted_axes(noise: np.ndarray, total: np.ndarray, n_axes: int, *, ridge: float, power: float) -> np.ndarray:
    """Compute the axes with the most signal for their noise, ``[dim, n_axes]`` float32, in falling order of the ratio.

    ``noise`` and ``total`` are sums of :func:`scatter` over data sets; ``ridge`` is added to the diagonal of the noise.
    The noise of an axis with the ratio ``r`` of signal to noise is scaled to 1, the axis to ``r^power / (1 + r)``. Axes
    without signal, or beyond ``dim``, are zero.
    """
    dim = len(noise)
    floor = np.finfo(np.float64).tiny + ridge
    n = min(n_axes, dim)
    ratio, axes = linalg.eigh(total, noise + floor * np.eye(dim), subset_by_index=(dim - n, dim - 1))
    ratio = np.maximum(ratio[::-1] - 1, 0)
    out = np.zeros((dim, n_axes), dtype=np.float32)
    out[:, :n] = axes[:, ::-1] * (ratio**power / (1 + ratio))
    return out

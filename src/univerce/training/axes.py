"""The axes of a bag that tell cells of one data set apart, from cells without labels."""

from __future__ import annotations

import numpy as np
from scipy import sparse

_N_NEIGHBORS = 10
_N_COMPONENTS = 20
_RIDGE = 0.2
_EXPONENT = 0.75


def telling_axes(bags: np.ndarray, expression: sparse.csr_matrix, sets: np.ndarray, n_components: int) -> np.ndarray:
    """Axes along which cells vary within a data set, measured against how cells of one kind vary.

    What a cell and the mean of its nearest neighbors in its own data set do not share is taken for noise: the depth of
    the cell, the counts that chance left out, its cycle. What their neighbors differ in is the signal. Directions in
    which only whole data sets differ are neither and fall away.

    Parameters
    ----------
    bags
        ``[n_cells, dim]``.
    expression
        ``[n_cells, n_genes]`` log-normalized; it decides who is whose neighbor.
    sets
        ``[n_cells]`` data set of each cell.
    n_components
        Number of axes.

    Returns
    -------
    ``[n_components, dim]`` float32, those of the highest ratio ``r`` of signal to noise first. An axis has the noise
    scaled to 1 and weighs ``r^0.75 / (1 + r)``: the share of signal in it, and half-way to signals of one size. Where
    there is no signal, or no dimension left, rows are zero.
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
        noise += apart.T @ apart * (n / (n + 1))  # the mean of n neighbors brings noise of its own
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
    """The nearest other cells of every cell, ``[n_cells, n_neighbors]``, on the first principal components.

    Parameters
    ----------
    expression
        ``[n_cells, n_genes]``, at least two cells.
    """
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

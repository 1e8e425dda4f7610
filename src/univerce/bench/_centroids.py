"""Whether the centroids of a type find each other across batches: arrays in, shares out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from univerce.embeddings.ranks import rank_reference


def centroid_hits(
    query: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray], ks: Sequence[int]
) -> tuple[np.ndarray, int]:
    """Of the types that both have, how many find their own centroid of the reference among the ``k`` nearest ones.

    Parameters
    ----------
    query, reference
        Points ``[n, n_dims]`` and their types ``[n]``.
    ks
        How many of the nearest centroids of the reference count.

    Returns
    -------
    Hits for each ``k``, and the number of types that both have.
    """
    (mine, my_types), (theirs, their_types) = centroids(*query), centroids(*reference)
    shared, i, j = np.intersect1d(my_types, their_types, return_indices=True)
    if len(shared) == 0:
        return np.zeros(len(ks)), 0
    ranks = rank_reference(mine, theirs).rank_cross[i, j]
    return np.array([(ranks <= k).sum() for k in ks], dtype=float), len(shared)


def centroids(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each type in float64, and the types, ascending."""
    types, codes = np.unique(y, return_inverse=True)
    return np.array([x[codes == k].mean(axis=0, dtype=np.float64) for k in range(len(types))]), types


def alignment_of_batches(
    x: np.ndarray, y: np.ndarray, batches: np.ndarray, ks: Sequence[int]
) -> tuple[np.ndarray, int]:
    """The shares of hits over all ordered pairs of batches, and the number of types that were looked for."""
    hits, n = np.zeros(len(ks)), 0
    parts = [(x[batches == b], y[batches == b]) for b in np.unique(batches)]
    for i, query in enumerate(parts):
        for j, reference in enumerate(parts):
            if i != j:
                found, looked_for = centroid_hits(query, reference, ks)
                hits, n = hits + found, n + looked_for
    return hits / n if n else np.full(len(ks), np.nan), n

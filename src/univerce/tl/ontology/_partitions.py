"""Partitions: cuts of a tree, and how two of them agree. Arrays in, arrays out."""

from __future__ import annotations

import numpy as np


def cut_linkage(linkage: np.ndarray, n_clusters: int) -> np.ndarray:
    """``[n]`` the clusters that are left when the first ``n - n_clusters`` merges of a linkage are done, from 0 on.

    Always so many clusters, which cuts at a height do not give when merges tie.
    """
    n = len(linkage) + 1
    members = {i: [i] for i in range(n)}
    for step, (a, b) in enumerate(linkage[: n - n_clusters, :2].astype(int)):
        members[n + step] = members.pop(a) + members.pop(b)
    out = np.empty(n, dtype=np.int64)
    for number, cluster in enumerate(sorted(members.values(), key=min)):
        out[cluster] = number
    return out


def adjusted_rand(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The adjusted Rand index (Hubert and Arabie 1985) of a partition with each of several others.

    Parameters
    ----------
    a
        ``[n]`` clusters, from 0 on.
    b
        ``[m, n]`` clusters, from 0 on.

    Returns
    -------
    ``[m]``: 1 for the same partition, 0 on average for one by chance.
    """
    cells = a * (b.max() + 1) + b
    both, theirs = (np.array([_pairs(np.bincount(row)).sum() for row in rows]) for rows in (cells, b))
    mine = _pairs(np.bincount(a)).sum()
    expected, most = mine * theirs / _pairs(len(a)), (mine + theirs) / 2
    same = most == expected  # both all in one, or both all alone
    return np.where(same, 1.0, (both - expected) / np.where(same, 1, most - expected))


def _pairs(n: np.ndarray | int) -> np.ndarray:
    return np.asarray(n * (n - 1) / 2)

"""Partitions: cuts of a tree, and the agreement of two partitions. Arrays in, arrays out."""

from __future__ import annotations

import numpy as np


def cut_linkage(linkage: np.ndarray, n_clusters: int) -> np.ndarray:
    """``[n]`` clusters after the first ``n - n_clusters`` merges of a linkage, from 0.

    Unlike :func:`scipy.cluster.hierarchy.cut_tree`, the number of clusters is right when merges invert, as those of
    the linkages ``"centroid"`` and ``"median"`` do.
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
    """``[m]`` adjusted Rand index (Hubert and Arabie 1985) of clusters ``[n]`` with each row of ``[m, n]``."""
    cells = a * (b.max() + 1) + b
    both, theirs = (np.array([_pairs(np.bincount(row)).sum() for row in rows]) for rows in (cells, b))
    mine = _pairs(np.bincount(a)).sum()
    expected, most = mine * theirs / _pairs(len(a)), (mine + theirs) / 2
    same = most == expected  # one cluster each, or one member each
    return np.where(same, 1.0, (both - expected) / np.where(same, 1, most - expected))


def _pairs(n: np.ndarray | int) -> np.ndarray:
    return np.asarray(n * (n - 1) / 2)

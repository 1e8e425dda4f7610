"""Ranks of centroids by distance, shares of matches, and those of shuffled labels. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from univerce._validate import check_whole

METRICS = ("euclidean", "cosine")
OVERALL = "overall"
"""Name of the row over all groups."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """Distances and ranks of the centroids of a reference as seen from those of a query.

    A rank is the number of centroids that are at most as far away, itself included: 1 is the nearest. Ties get the
    highest rank, so that a rank does not depend on the order.
    """

    own: np.ndarray
    """``[n_query, n_query]`` distances within the query, infinite on the diagonal."""
    cross: np.ndarray
    """``[n_query, n_reference]`` distances to the reference."""
    rank_cross: np.ndarray
    """``[n_query, n_reference]`` rank among the centroids of the reference."""
    rank_either: np.ndarray
    """``[n_query, n_reference]`` rank among the centroids of both, without the query's own."""


def distances(a: np.ndarray, b: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """``[n_a, n_b]`` distances in double precision, exactly 0 for equal rows."""
    from scipy.spatial.distance import cdist  # slow to import, as scipy.stats

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    check_metric(metric)
    if metric == "cosine":
        a, b = directions(a), directions(b)
    return cdist(a, b) ** 2 / 2 if metric == "cosine" else cdist(a, b)


def directions(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length; ``ValueError`` if a row is zero."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    if n_zero := int((norm == 0).sum()):
        raise ValueError(
            f"{n_zero} of {len(rows)} centroids are zero in every dimension and have no cosine. Use metric='euclidean'."
        )
    return np.asarray(rows / norm)


def self_distances(points: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """``[n, n]`` distances within one set, infinite on the diagonal."""
    out = distances(points, points, metric)
    np.fill_diagonal(out, np.inf)
    return out


def rank_reference(query: np.ndarray, reference: np.ndarray, metric: str = "euclidean") -> Ranks:
    """Rank the centroids ``[n_reference, n_dims]`` as seen from the centroids ``[n_query, n_dims]``."""
    own, cross = self_distances(query, metric), distances(query, reference, metric)
    either = _rank_rows(np.hstack([cross, own]))[:, : cross.shape[1]]
    return Ranks(own, cross, _rank_rows(cross), either)


def _rank_rows(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, method="max", axis=1), dtype=np.int64) if values.size else values.astype(int)


def shuffled_hits(
    ranks: np.ndarray, match: np.ndarray, ks: Sequence[int], n_permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """Count query centroids with a match among the ``k`` nearest, after shuffling the labels of the reference.

    ``match`` ``[n_query]`` is the reference centroid of the same type, -1 for none. Returns
    ``[n_permutations, n_ks]``.
    """
    rows = np.flatnonzero(match >= 0)
    places = np.tile(np.arange(ranks.shape[1]), (n_permutations, 1))
    shuffled = ranks[rows, rng.permuted(places, axis=1)[:, match[rows]]]
    return np.stack([(shuffled <= k).sum(axis=1) for k in ks], axis=1)


def first_same(points: np.ndarray, types: np.ndarray, metric: str = "euclidean") -> tuple[np.ndarray, np.ndarray]:
    """Rank the other centroids ``[n, n_dims]`` as seen from each, and find the first of the same type.

    Returns ``[n]`` rank of the nearest other centroid of the type, infinite if there is none, and ``[n, n]`` all ranks,
    infinite on the diagonal.
    """
    ranks = _rank_rows(self_distances(points, metric)).astype(np.float64)
    np.fill_diagonal(ranks, np.inf)
    same = types[:, None] == types[None, :]
    return np.where(same, ranks, np.inf).min(axis=1, initial=np.inf), ranks


def shuffle_within(types: np.ndarray, blocks: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``[n, len(types)]`` types shuffled within each block."""
    out = np.tile(types, (n, 1))
    for block in np.unique(blocks):
        members = np.flatnonzero(blocks == block)
        out[:, members] = rng.permuted(out[:, members], axis=1)
    return out


def any_same(near: np.ndarray, types: np.ndarray) -> np.ndarray:
    """``[n_permutations, n]`` whether any neighbor in ``near`` ``[n, n]`` has the same of ``[n_permutations, n]``."""
    rows, columns = np.nonzero(near)
    collect = sp.csr_array((np.ones(len(rows)), (np.arange(len(rows)), rows)), shape=(len(rows), len(near)))
    same = (types[:, rows] == types[:, columns]).astype(np.float64)
    return np.asarray(same @ collect) > 0


def summarize(hits: float, n: int, shuffled: np.ndarray) -> dict[str, float]:
    """Compare a share with those of shuffled labels.

    The share is ``hits / n``, NaN for ``n = 0``. ``shuffled`` ``[n_permutations]`` are the hits of shuffled labels; may
    be empty. The p-value is (1 + shuffles with at least as many hits) / (1 + shuffles): exact for random shuffles and
    never 0 (Phipson and Smyth 2010).
    """
    null: dict[str, float] = dict.fromkeys(("chance", "chance_low", "chance_high", "p_value"), np.nan)
    if n and len(shuffled):
        low, high = np.quantile(shuffled / n, [0.025, 0.975])
        p = (1 + int((shuffled >= hits).sum())) / (1 + len(shuffled))
        null = {"chance": float(shuffled.mean() / n), "chance_low": low, "chance_high": high, "p_value": p}
    return {"n": n, "hits": hits, "share": hits / n if n else np.nan, **null}


def clopper_pearson(
    count: np.ndarray | float, n: np.ndarray | float, alpha: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Exact interval of a share; NaN for ``n`` of NaN."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(count, n, alpha=alpha, method="beta")
    return np.asarray(low), np.asarray(high)


def check_metric(metric: str) -> None:
    """Raise ``ValueError`` if the metric is unknown."""
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r} is not known; use one of {', '.join(map(repr, METRICS))}.")


def check_options(k: int | Sequence[int], metric: str, n_permutations: int, min_cells: int) -> tuple[int, ...]:
    """Sorted values of ``k``; ``ValueError`` if an option is out of range."""
    check_whole("min_cells", min_cells, 1)
    check_whole("n_permutations", n_permutations, 0)
    ks = sorted({k} if isinstance(k, int | np.integer) else set(k))
    if not ks:
        raise ValueError("k is empty; pass at least one number of nearest centroids.")
    for value in ks:
        check_whole("k", value, 1)
    check_metric(metric)
    return tuple(int(x) for x in ks)

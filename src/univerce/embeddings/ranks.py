"""Which centroid lies nearest to which: ranks, shares, and what shuffled labels would give. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.spatial.distance import cdist

from univerce._validate import check_whole

METRICS = ("euclidean", "cosine")


@dataclass(frozen=True, eq=False)
class Ranks:
    """How near the centroids of a reference lie to those of a query.

    A rank is the number of centroids that are at most as far away, the one itself included: 1 is the nearest, and a tie
    counts as further away, so that a rank depends on no order.

    Parameters
    ----------
    own
        ``[n_query, n_query]`` distances within the query, infinite from a centroid to itself.
    cross
        ``[n_query, n_reference]`` distances to the reference.
    rank_cross
        ``[n_query, n_reference]`` rank of each reference centroid among those of the reference.
    rank_either
        ``[n_query, n_reference]`` rank among the centroids of both, the query's own one excluded.
    """

    own: np.ndarray
    cross: np.ndarray
    rank_cross: np.ndarray
    rank_either: np.ndarray


def distances(a: np.ndarray, b: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """``[n_a, n_b]`` distances in double precision, from the differences themselves: equal rows are 0 apart.

    Raises
    ------
    ValueError
        When the metric is not known, or a row has no direction.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    check_metric(metric)
    if metric == "cosine":
        a, b = directions(a), directions(b)
    return cdist(a, b) ** 2 / 2 if metric == "cosine" else cdist(a, b)


def directions(rows: np.ndarray) -> np.ndarray:
    """Rows of unit length.

    Raises
    ------
    ValueError
        When a row is zero.
    """
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    if n_zero := int((norm == 0).sum()):
        raise ValueError(
            f"{n_zero} of {len(rows)} centroids are zero in every dimension: they have no direction, and so no cosine "
            "with another. Use metric='euclidean'."
        )
    return np.asarray(rows / norm)


def self_distances(points: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    """``[n, n]`` distances within one set, infinite on the diagonal: a point is no neighbor of its own."""
    out = distances(points, points, metric)
    np.fill_diagonal(out, np.inf)
    return out


def count_within(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """``[n, m]`` how many of ``values[i]`` are at most ``limits[i, j]``."""
    ordered = np.sort(values, axis=1)
    rows = [np.searchsorted(v, limit, side="right") for v, limit in zip(ordered, limits, strict=True)]
    return np.array(rows, dtype=np.int64).reshape(limits.shape)


def rank_reference(query: np.ndarray, reference: np.ndarray, metric: str = "euclidean") -> Ranks:
    """Ranks of the centroids ``[n_reference, n_dims]`` seen from the centroids ``[n_query, n_dims]``."""
    own, cross = self_distances(query, metric), distances(query, reference, metric)
    rank_cross = count_within(cross, cross)
    return Ranks(own, cross, rank_cross, rank_cross + count_within(own, cross))


def shuffled_hits(
    ranks: np.ndarray, match: np.ndarray, ks: Sequence[int], n_permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """Hits when the labels of the reference centroids are shuffled.

    Parameters
    ----------
    ranks
        ``[n_query, n_reference]``.
    match
        ``[n_query]`` which reference centroid is of the same type, -1 for none.
    ks
        How many of the nearest centroids count.
    n_permutations
        Shuffles.
    rng
        Their source.

    Returns
    -------
    ``[n_permutations, n_ks]`` how many of the query centroids have the one that is now called like them among their
    ``k`` nearest.
    """
    rows = np.flatnonzero(match >= 0)
    places = np.tile(np.arange(ranks.shape[1]), (n_permutations, 1))
    shuffled = ranks[rows, rng.permuted(places, axis=1)[:, match[rows]]]
    return np.stack([(shuffled <= k).sum(axis=1) for k in ks], axis=1)


def first_same(points: np.ndarray, types: np.ndarray, metric: str = "euclidean") -> tuple[np.ndarray, np.ndarray]:
    """The rank of the nearest other centroid of the same type, and all ranks.

    Parameters
    ----------
    points
        ``[n, n_dims]`` centroids.
    types
        ``[n]`` what each is a centroid of.
    metric
        Of the distances.

    Returns
    -------
    ``[n]`` ranks, infinite for a type that occurs once, and ``[n, n]`` ranks of all seen from each, the diagonal beyond
    all others.
    """
    apart = self_distances(points, metric)
    ranks = count_within(apart, apart).astype(np.float64)
    np.fill_diagonal(ranks, np.inf)
    same = types[:, None] == types[None, :]
    return np.where(same, ranks, np.inf).min(axis=1, initial=np.inf), ranks


def shuffle_within(types: np.ndarray, blocks: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``[n, len(types)]`` the types shuffled among the members of each block."""
    out = np.tile(types, (n, 1))
    for block in np.unique(blocks):
        members = np.flatnonzero(blocks == block)
        out[:, members] = rng.permuted(out[:, members], axis=1)
    return out


def any_same(near: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Whether any neighbor has the same type.

    Parameters
    ----------
    near
        ``[n, n]`` whether the column's centroid is a neighbor of the row's.
    types
        ``[n_permutations, n]`` types.

    Returns
    -------
    ``[n_permutations, n]``.
    """
    rows, columns = np.nonzero(near)
    collect = sp.csr_array((np.ones(len(rows)), (np.arange(len(rows)), rows)), shape=(len(rows), len(near)))
    same = (types[:, rows] == types[:, columns]).astype(np.float64)
    return np.asarray(same @ collect) > 0


def summarize(hits: float, n: int, shuffled: np.ndarray) -> dict[str, float]:
    """A share beside the shares that shuffled labels gave.

    The p-value is (1 + shuffles with at least as many hits) / (1 + shuffles), which is exact for shuffles drawn at
    random and never 0 (Phipson and Smyth 2010).

    Parameters
    ----------
    hits, n
        The share is ``hits / n``; NaN when ``n`` is 0.
    shuffled
        ``[n_permutations]`` hits of shuffled labels; empty when nothing was shuffled.
    """
    null: dict[str, float] = dict.fromkeys(("chance", "chance_low", "chance_high", "p_value"), np.nan)
    if n and len(shuffled):
        low, high = np.quantile(shuffled / n, [0.025, 0.975])
        p = (1 + int((shuffled >= hits).sum())) / (1 + len(shuffled))
        null = {"chance": float(shuffled.mean() / n), "chance_low": low, "chance_high": high, "p_value": p}
    return {"n": n, "hits": hits, "share": hits / n if n else np.nan, **null}


def check_metric(metric: str) -> None:
    """Raise ``ValueError`` when the metric is not known."""
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r} is not known; use one of {', '.join(map(repr, METRICS))}.")


def check_options(k: int | Sequence[int], metric: str, n_permutations: int, min_cells: int) -> tuple[int, ...]:
    """The values of ``k``, sorted; raise ``ValueError`` when an option is out of range."""
    ks = sorted({k} if isinstance(k, int | np.integer) else set(k))
    for name, value, least in (
        ("min_cells", min_cells, 1),
        ("n_permutations", n_permutations, 0),
        *(("k", x, 1) for x in ks),
    ):
        check_whole(name, value, least)
    if not ks:
        raise ValueError("k is empty; name at least one number of nearest centroids.")
    check_metric(metric)
    return tuple(int(x) for x in ks)

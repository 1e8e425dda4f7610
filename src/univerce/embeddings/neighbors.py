"""Exact nearest neighbors by blocked matrix products, here or on the workers of a dask cluster.

A row with NaN or infinity has no embedding. As a query it gets the index -1 and the distance NaN, in the reference it
is never a neighbor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, get_args

import numba
import numpy as np

from univerce._validate import check_whole
from univerce.io.intact import read_rows
from univerce.io.ondisk import OnDisk
from univerce.io.workers import READ_ROWS, ROUNDED_ROWS, as_is, blocks_of_rows, map_blocks

Metric = Literal["euclidean", "cosine", "correlation"]
BLOCK_ROWS = 16384
_PART_ROWS = 65536  # of the reference in a task of a worker; a multiple of the chunks of an atlas
QUERY_ROWS = 65536  # queries in memory at a time; the reference is read once for each of these blocks
_PRODUCT = 2**24  # entries of one matrix product
_UNIT = 2.0**-24  # rounding of float32


def exact_neighbors(
    query: Any,
    reference: Any,
    k: int,
    *,
    block_rows: int = BLOCK_ROWS,
    metric: str = "euclidean",
    only: np.ndarray | None = None,
    client: Any = None,
    done: Callable[[int], object] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the ``k`` nearest rows of ``reference`` ``[n_reference, n_dims]`` for each row of ``query`` ``[n, n_dims]``.

    Products of blocks in float32 find the candidates, with a margin for their largest possible rounding error; their
    distances are then computed in float64. The result is exact, and the same for all blocks, orders of the queries and
    numbers of threads and workers. The reference is read in order, ``block_rows`` at a time.

    Parameters
    ----------
    metric
        ``"cosine"`` is one minus the cosine; a row of zeros has no direction and counts as missing.
        ``"correlation"`` is one minus Pearson's correlation; a row of equal values counts as missing.
    only
        ``[n_reference]`` booleans, the rows of ``reference`` to search; blocks without any are not read.
    client
        A ``dask.distributed.Client`` whose workers read ``reference``, which must be on disk.
    done
        Called with the number of compared pairs, for a progress bar.

    Returns
    -------
    Indices ``[n, k]`` int64 and distances ``[n, k]`` float32, the nearest first, equal distances by row of
    ``reference``. ``ValueError`` if it has fewer than ``k`` embeddings, the widths differ or an option is unknown.
    """
    check_whole("k", k, 1)
    if query.shape[1] != reference.shape[1]:
        raise ValueError(f"The query has {query.shape[1]} columns and the reference {reference.shape[1]}.")
    if k > reference.shape[0]:
        raise ValueError(too_few(k, reference.shape[0]))
    check_metric(metric)
    indices, squares = _no_neighbors(query.shape[0], k)
    if client is None:
        every = slice(0, reference.shape[0])
        for rows in blocks_of_rows(query.shape[0], QUERY_ROWS):
            queries, found = read_rows(query, rows), (indices[rows], squares[rows])
            n_known = _search(
                queries, reference, every, *found, block_rows=block_rows, metric=metric, only=only, done=done
            )
            if n_known < k:
                raise ValueError(too_few(k, n_known))
    else:
        _collect_on_workers(client, query, reference, indices, squares, metric, only, done)
    return _nearest_first(indices, squares, metric)


def rerank(
    query: np.ndarray, reference: Any, candidates: np.ndarray, k: int, *, metric: str = "euclidean"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the ``k`` nearest of some rows ``[n, m]`` of ``reference`` for each row of ``query`` ``[n, n_dims]``.

    Distances and order are those of :func:`exact_neighbors`. -1 is no candidate. Blocks of ``reference`` that hold
    candidates are read once, in order.
    """
    q, _ = _prepare(query, metric)
    squares = np.full(candidates.shape, np.nan)
    order = np.argsort(candidates, axis=None, kind="stable")
    rows = candidates.ravel()[order]
    for block in blocks_of_rows(reference.shape[0], READ_ROWS):
        first, last = np.searchsorted(rows, [block.start, block.stop])
        if first < last:
            wanted, which = np.unique(rows[first:last] - block.start, return_inverse=True)
            r, _ = _prepare(read_rows(reference, block, None)[wanted].astype(np.float32), metric)
            at = order[first:last]
            _fill(q, r, at // candidates.shape[1], which, at, squares.reshape(-1))
    indices, squares = _in_order(candidates, squares)
    return indices[:, :k], _as_distances(squares[:, :k], metric)


def check_metric(metric: str) -> None:
    """Raise ``ValueError`` for an unknown metric."""
    if metric not in get_args(Metric):
        raise ValueError(f"metric={metric!r} is not known; use one of {', '.join(map(repr, get_args(Metric)))}.")


def _collect_on_workers(
    client: Any, query: Any, reference: Any, indices: np.ndarray, squares: np.ndarray, metric: str,
    only: np.ndarray | None, done: Any,
) -> None:  # fmt: skip
    """Fill ``indices`` and ``squares`` ``[n, k]`` from parts of the reference; a lost task costs one part."""
    stored, queries = OnDisk.find(reference), OnDisk.find(query)
    if stored is None:
        raise ValueError("client= needs a reference on disk, which its workers can read.")
    k, n_known = indices.shape[1], dict[int, int]()
    work = partial(_collect_part, stored, queries, k, metric, only)
    items = _tasks(client, None if queries else query, len(indices), reference.shape[0])
    for rows, part, theirs, n in map_blocks(client, work, items, name="search_atlas"):
        n_known[part.start] = n
        both = (np.concatenate(pair, axis=1) for pair in zip((indices[rows], squares[rows]), theirs, strict=True))
        indices[rows], squares[rows] = (values[:, :k] for values in _in_order(*both))
        if done is not None:
            done((rows.stop - rows.start) * (part.stop - part.start))
    if len(indices) and (total := sum(n_known.values())) < k:
        raise ValueError(too_few(k, total))


def _tasks(client: Any, query: Any, n_query: int, n_reference: int) -> Iterator[tuple[slice, Any, slice]]:
    """Each block of queries with each part of the reference; the block is ``None`` if workers can read it."""
    for rows in blocks_of_rows(n_query, ROUNDED_ROWS):
        # Sent once, as a task whose result workers pass on and dask computes again if they die.
        block = None if query is None else client.submit(as_is, read_rows(query, rows), pure=False)
        for part in blocks_of_rows(n_reference, _PART_ROWS):
            yield rows, block, part


def _collect_part(
    reference: OnDisk, query: OnDisk | None, k: int, metric: str, only: np.ndarray | None,
    rows: slice, block: np.ndarray | None, part: slice,
) -> tuple[slice, slice, tuple[np.ndarray, np.ndarray], int]:  # fmt: skip
    queries = read_rows(query.open(), rows) if block is None and query is not None else block
    found = _no_neighbors(rows.stop - rows.start, k)
    n_known = _search(np.asarray(queries), reference.open(), part, *found, metric=metric, only=only)
    return rows, part, found, n_known


def _no_neighbors(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices and squared distances ``[n, k]`` before the search."""
    return np.full((n, k), -1, dtype=np.int64), np.full((n, k), np.inf)


def _search(
    queries: np.ndarray,
    reference: Any,
    rows: slice,
    indices: np.ndarray,
    squares: np.ndarray,
    *,
    metric: str,
    block_rows: int = BLOCK_ROWS,
    only: np.ndarray | None = None,
    done: Callable[[int], object] | None = None,
) -> int:
    """Fill ``indices`` and ``squares`` ``[n, k]`` with the nearest of some rows of the reference, in any order.

    Returns the number of these rows with an embedding.
    """
    tile = max(1, _PRODUCT // min(block_rows, max(rows.stop - rows.start, 1)))
    q, q_sq = _prepare(queries, metric)
    n_known = 0
    for first in range(rows.start, rows.stop, block_rows):
        block = slice(first, min(first + block_rows, rows.stop))
        places = np.arange(block.start, block.stop)
        if only is not None:
            places = places[only[block]]
        values = read_rows(reference, block) if len(places) else np.empty((0, q.shape[1]), np.float32)
        r, r_sq = _prepare(values if len(places) == len(values) else values[places - first], metric)
        n_known += int(np.isfinite(r_sq).sum())
        for start in range(0, len(q), tile):
            part = slice(start, start + tile)
            with np.errstate(over="ignore", invalid="ignore"):  # of missing rows
                products = q[part] @ r.T
            _collect(products, q[part], q_sq[part], r, r_sq, places, squares[part], indices[part])
        if done is not None:
            done(len(q) * (block.stop - block.start))
    return n_known


def _nearest_first(indices: np.ndarray, squares: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Sort neighbors and convert squares to distances in float32, NaN for no neighbor."""
    indices, squares = _in_order(indices, np.where(indices < 0, np.nan, squares))
    return indices, _as_distances(squares, metric)


def _as_distances(squares: np.ndarray, metric: str) -> np.ndarray:
    """Distances in float32 from squared distances of prepared rows."""
    return (np.sqrt(squares) if metric == "euclidean" else squares / 2).astype(np.float32)


def _in_order(indices: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort the nearest first, equal distances by row."""
    order = np.lexsort((indices, squares), axis=-1)
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(squares, order, axis=1)


def prepare(block: np.ndarray, metric: str) -> np.ndarray:
    """Rows whose squared Euclidean distances order as those of the metric; not finite if they have no embedding.

    For the cosine they have unit length, for the correlation also the mean zero; half the square is then the distance.
    """
    rows = np.ascontiguousarray(block)
    if metric == "euclidean":
        return rows
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if metric == "correlation":
            constant = rows.max(axis=1) == rows.min(axis=1)
            rows = (rows - rows.mean(axis=1, dtype=np.float64, keepdims=True)).astype(np.float32)
            rows[constant] = np.nan  # the mean is rounded
        return (rows / np.sqrt(_squares(rows))[:, None]).astype(np.float32)


def _prepare(block: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Prepared rows and their squared lengths, finite for known rows only."""
    rows = prepare(block, metric)
    return rows, _squares(rows)


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _distance(a, b):  # type: ignore[no-untyped-def]
    """Squared Euclidean distance in float64."""
    total = 0.0
    for j in range(a.shape[0]):
        difference = np.float64(a[j]) - np.float64(b[j])
        total += difference * difference
    return total


@numba.njit(nogil=True, cache=True)
def _squares(rows):  # type: ignore[no-untyped-def]
    out = np.empty(rows.shape[0])
    zero = np.zeros(rows.shape[1], dtype=rows.dtype)
    for i in range(rows.shape[0]):
        out[i] = _distance(rows[i], zero)
    return out


@numba.njit(nogil=True, cache=True)
def _collect(products, q, q_sq, r, r_sq, rows, distances, indices):  # type: ignore[no-untyped-def]
    """Add rows of the reference to the heaps of the nearest so far.

    ``distances`` and ``indices`` ``[n, k]`` hold one heap a row, the worst pair (distance, index) on top. The float32
    product of two rows of ``d`` values is off by ``d * 2**-24 * |q| * |r|`` at most, their squared distance by
    ``d * 2**-24 * (|q|^2 + |r|^2)``.
    """
    shrink = 1.0 - (r.shape[1] + 2) * _UNIT
    half = 0.5 * shrink * r_sq
    for i in range(products.shape[0]):
        if not np.isfinite(q_sq[i]):
            continue
        bound = 0.5 * (shrink * q_sq[i] - distances[i, 0])
        for j in range(products.shape[1]):
            if products[i, j] < half[j] + bound:
                continue
            exact = _distance(q[i], r[j])
            row = rows[j]
            if exact < distances[i, 0] or (exact == distances[i, 0] and row < indices[i, 0]):
                _replace_worst(distances[i], indices[i], exact, row)
                bound = 0.5 * (shrink * q_sq[i] - distances[i, 0])


@numba.njit(nogil=True, cache=True)
def _fill(q, r, query, row, at, squares):  # type: ignore[no-untyped-def]
    """Squared distances of pairs: ``squares[at]`` is that of ``q[query]`` and ``r[row]``, missing if infinite."""
    for p in range(at.shape[0]):
        squares[at[p]] = _distance(q[query[p]], r[row[p]])


@numba.njit(nogil=True, cache=True)
def _replace_worst(distances, indices, distance, index):  # type: ignore[no-untyped-def]
    """Sift a new pair down from the top of a heap."""
    k, at = distances.shape[0], 0
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        other = child + 1
        if other < k and (
            distances[other] > distances[child]
            or (distances[other] == distances[child] and indices[other] > indices[child])
        ):
            child = other
        if distances[child] < distance or (distances[child] == distance and indices[child] < index):
            break
        distances[at], indices[at] = distances[child], indices[child]
        at = child
    distances[at], indices[at] = distance, index


def recall(indices: np.ndarray, exact: np.ndarray) -> float:
    """Share of the exact neighbors ``[n, k]`` among the found ones; queries without neighbors do not count."""
    known = exact[:, 0] >= 0
    if not known.any():
        return math.nan
    pairs = zip(indices[known], exact[known], strict=True)
    return float(np.mean([np.isin(mine, theirs).mean() for theirs, mine in pairs]))


def too_few(k: int, n: int) -> str:
    """Message for a reference that is smaller than the number of neighbors."""
    return f"{k} neighbors were asked for and the reference has {n} embeddings; ask for at most {n}."

"""Exact nearest neighbors by blocked matrix products, here or on the workers of a dask cluster.

A row with NaN or infinity has no embedding. As a query it gets the index -1 and the distance NaN, in the reference it
is never a neighbor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import numba
import numpy as np

from univerce._validate import check_whole
from univerce.io.intact import read_rows
from univerce.io.ondisk import OnDisk
from univerce.io.workers import ROUNDED_ROWS, as_is, blocks_of_rows, map_blocks

Metric = Literal["euclidean", "cosine"]

BLOCK_ROWS = 16384
_PART_ROWS = 65536  # of the reference in a task of a worker; a multiple of the chunks of an atlas
_QUERY_ROWS = 65536  # queries in memory at a time; the reference is read once for each of these blocks
_PRODUCT = 2**24  # entries of one matrix product
_UNIT = 2.0**-24  # rounding of float32


def exact_neighbors(
    query: Any,
    reference: Any,
    k: int,
    *,
    block_rows: int = BLOCK_ROWS,
    metric: Metric = "euclidean",
    client: Any = None,
    done: Callable[[int], object] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the ``k`` nearest rows of ``reference`` for each row of ``query``.

    Products of blocks in float32 find the candidates, with a margin for their largest possible rounding error; their
    distances are then computed in float64. The result is exact, and the same for all blocks, orders of the queries and
    numbers of threads and workers.

    Parameters
    ----------
    query, reference
        Embeddings ``[n, n_dims]`` and ``[n_reference, n_dims]``. ``reference`` is read in order, a block at a time.
    k
        Number of neighbors.
    block_rows
        Rows of ``reference`` in memory at a time.
    metric
        ``"cosine"`` is one minus the cosine; a row of zeros has no direction and counts as missing.
    client
        A ``dask.distributed.Client`` whose workers read ``reference``, which must be on disk.
    done
        Called with the number of compared pairs, for a progress bar.

    Returns
    -------
    Indices ``[n, k]`` int64 and distances ``[n, k]`` float32, the nearest first, equal distances by row of
    ``reference``.

    Raises
    ------
    ValueError
        If ``reference`` has fewer than ``k`` embeddings, the widths differ or an option is unknown.
    """
    check_whole("k", k, 1)
    if query.shape[1] != reference.shape[1]:
        raise ValueError(f"The query has {query.shape[1]} columns and the reference {reference.shape[1]}.")
    if k > reference.shape[0]:
        raise ValueError(too_few(k, reference.shape[0]))
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f"metric={metric!r} is not known; use 'euclidean' or 'cosine'.")
    indices, squares = _no_neighbors(query.shape[0], k)
    if client is None:
        every = slice(0, reference.shape[0])
        for rows in blocks_of_rows(query.shape[0], _QUERY_ROWS):
            queries, found = read_rows(query, rows), (indices[rows], squares[rows])
            n_known = _search(queries, reference, every, *found, block_rows=block_rows, metric=metric, done=done)
            if n_known < k:
                raise ValueError(too_few(k, n_known))
    else:
        _collect_on_workers(client, query, reference, indices, squares, metric, done)
    return _nearest_first(indices, squares, metric)


def _collect_on_workers(
    client: Any, query: Any, reference: Any, indices: np.ndarray, squares: np.ndarray, metric: Metric, done: Any
) -> None:
    """Fill ``indices`` and ``squares`` ``[n, k]`` from parts of the reference; a lost task costs one part."""
    stored, queries = OnDisk.find(reference), OnDisk.find(query)
    if stored is None:
        raise ValueError("client= needs a reference on disk, which its workers can read.")
    k, n_known = indices.shape[1], dict[int, int]()
    work = partial(_collect_part, stored, queries, k, metric)
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
    reference: OnDisk, query: OnDisk | None, k: int, metric: Metric, rows: slice, block: np.ndarray | None, part: slice
) -> tuple[slice, slice, tuple[np.ndarray, np.ndarray], int]:
    queries = read_rows(query.open(), rows) if block is None and query is not None else block
    found = _no_neighbors(rows.stop - rows.start, k)
    n_known = _search(np.asarray(queries), reference.open(), part, *found, metric=metric)
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
    metric: Metric,
    block_rows: int = BLOCK_ROWS,
    done: Callable[[int], object] | None = None,
) -> int:
    """Fill ``indices`` and ``squares`` ``[n, k]`` with the nearest of some rows of the reference, in any order.

    Returns the number of these rows with an embedding.
    """
    cosine = metric == "cosine"
    tile = max(1, _PRODUCT // min(block_rows, max(rows.stop - rows.start, 1)))
    q, q_sq = _prepare(queries, cosine)
    n_known = 0
    for first in range(rows.start, rows.stop, block_rows):
        values = read_rows(reference, slice(first, min(first + block_rows, rows.stop)))
        r, r_sq = _prepare(values, cosine)
        n_known += int(np.isfinite(r_sq).sum())
        for start in range(0, len(q), tile):
            part = slice(start, start + tile)
            with np.errstate(over="ignore", invalid="ignore"):  # of missing rows
                products = q[part] @ r.T
            _collect(products, q[part], q_sq[part], r, r_sq, first, squares[part], indices[part])
        if done is not None:
            done(len(q) * len(r))
    return n_known


def _nearest_first(indices: np.ndarray, squares: np.ndarray, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """Sort neighbors and convert squares to distances in float32, NaN for no neighbor."""
    indices, squares = _in_order(indices, np.where(indices < 0, np.nan, squares))
    return indices, (squares / 2 if metric == "cosine" else np.sqrt(squares)).astype(np.float32)


def _in_order(indices: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort the nearest first, equal distances by row."""
    order = np.lexsort((indices, squares), axis=-1)
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(squares, order, axis=1)


def _prepare(block: np.ndarray, cosine: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows, of unit length for the cosine, and their squared lengths, finite for known rows only."""
    rows = np.ascontiguousarray(block)
    squares = _squares(rows)
    if cosine:
        with np.errstate(divide="ignore", invalid="ignore"):
            rows = (rows / np.sqrt(squares)[:, None]).astype(np.float32)
        squares = _squares(rows)
    return rows, squares


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
def _collect(products, q, q_sq, r, r_sq, first, distances, indices):  # type: ignore[no-untyped-def]
    """Add a block of the reference to the heaps of the nearest so far.

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
            row = first + j
            if exact < distances[i, 0] or (exact == distances[i, 0] and row < indices[i, 0]):
                _replace_worst(distances[i], indices[i], exact, row)
                bound = 0.5 * (shrink * q_sq[i] - distances[i, 0])


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

"""Nearest neighbors on the workers of a dask cluster: parts of a reference on disk, or blocks of queries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from univerce.embeddings.index import IndexKind, NeighborIndex, read_index
from univerce.embeddings.neighbors import check_sizes, collect, in_order, nearest_first, no_neighbors, too_few
from univerce.io.cluster import as_is, map_blocks
from univerce.io.ondisk import OnDisk
from univerce.io.rows import ROUNDED_ROWS, blocks_of_rows, map_rows, read_rows

SHARD_ROWS = 65536  # a multiple of the chunks of an atlas
_ONE_AT_A_TIME = threading.Lock()  # in a worker: an index is read once


def exact_on_workers(
    client: Any, query: Any, reference: OnDisk, k: int, *, done: Callable[[int], object] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`~univerce.embeddings.neighbors.exact_neighbors`, to the last bit, by workers that read the reference.

    A task is a block of queries and a part of the reference, so a worker that dies costs no more than that; queries in
    memory are sent once for each block.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``.
    query
        Embedding ``[n, n_dims]``.
    reference
        Where the reference lies.
    k
        Number of neighbors.
    done
        Called with the number of pairs that were compared, for a progress bar.

    Returns
    -------
    Indices ``[n, k]`` and distances ``[n, k]``.
    """
    check_sizes(query, reference, k)
    indices, squares = no_neighbors(query.shape[0], k)
    known: dict[int, int] = {}
    work = partial(_search_part, reference, OnDisk.find(query), k)
    for rows, part, theirs, n_known in map_blocks(client, work, _items(client, query, reference), name="search_atlas"):
        known[part.start] = n_known
        both = (np.concatenate(pair, axis=1) for pair in zip((indices[rows], squares[rows]), theirs, strict=True))
        indices[rows], squares[rows] = (values[:, :k] for values in in_order(*both))
        if done is not None:
            done((rows.stop - rows.start) * (part.stop - part.start))
    if len(indices) and (n_known := sum(known.values())) < k:
        raise ValueError(too_few(k, n_known))
    return nearest_first(indices, squares)


def _items(client: Any, query: Any, reference: OnDisk) -> Iterator[tuple[Any, ...]]:
    """A block of queries, unless workers can read it, beside every part of the reference."""
    on_disk = OnDisk.find(query) is not None
    for rows in blocks_of_rows(query.shape[0], ROUNDED_ROWS):
        # A task of its own: its result is sent from worker to worker, and made again when they die.
        block = None if on_disk else client.submit(as_is, read_rows(query, rows), pure=False)
        for part in blocks_of_rows(reference.shape[0], SHARD_ROWS):
            yield rows, block, part


def _search_part(
    reference: OnDisk, query: OnDisk | None, k: int, rows: slice, block: np.ndarray | None, part: slice
) -> tuple[slice, slice, tuple[np.ndarray, np.ndarray], int]:
    queries = read_rows(query.open(), rows) if block is None and query is not None else block
    found = no_neighbors(rows.stop - rows.start, k)
    n_known = collect(np.asarray(queries), reference.open(), part, *found)
    return rows, part, found, n_known


def index_on_workers(
    client: Any, query: Any, k: int, *, path: Path | str, kind: IndexKind, digest: str, effort: int
) -> tuple[np.ndarray, np.ndarray]:
    """As :meth:`~univerce.embeddings.index.NeighborIndex.search`, by workers that read the index from its file."""
    indices = np.full((query.shape[0], k), -1, dtype=np.int64)
    distances = np.full((query.shape[0], k), np.nan, dtype=np.float32)
    work = partial(_search_index, str(Path(path).resolve()), kind, digest, k, effort)
    for rows, found in map_rows(work, query, client=client, name="search_atlas"):
        indices[rows], distances[rows] = found
    return indices, distances


def _search_index(
    path: str, kind: IndexKind, digest: str, k: int, effort: int, block: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    with _ONE_AT_A_TIME:
        index = _index(path, kind, digest)
    return index.search(block, k, effort=effort)


@lru_cache(maxsize=1)
def _index(path: str, kind: IndexKind, digest: str) -> NeighborIndex:
    index = read_index(path, kind=kind, digest=digest)
    if index is None:
        raise ValueError(
            f"The index at {path} on the worker is another one, or there is none; all workers must see the same files."
        )
    return index

"""Map over blocks of a matrix, here or on the workers of a dask cluster."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import islice
from operator import call
from typing import Any

import numpy as np

from univerce.io.blocks import Rows, row_reader
from univerce.io.intact import read_rows
from univerce.io.ondisk import OnDisk, library

READ_ROWS = 4096  # a multiple of the next, and the chunks of an atlas
ROUNDED_ROWS = 1024
"""Rows of one product where sums round with their number, and rows that are sent together: a few megabytes."""

_AHEAD = 2  # blocks waiting for every thread of the workers

ONE_AT_A_TIME = threading.Lock()  # in a worker: one block is read and tokenized while another is embedded


def open_rows(matrix: OnDisk, block_rows: int) -> Rows:
    """In a worker: a reader of rows, opened once for all blocks of a call."""
    with ONE_AT_A_TIME:
        return _reader(matrix, block_rows)


@lru_cache(maxsize=1)
def _reader(matrix: OnDisk, block_rows: int) -> Rows:
    return row_reader(matrix.open(), block_rows)


def find_client(client: Any, X: Any) -> Any:
    """The given client, or, as in dask itself, the active one if ``X`` is a dask array; ``TypeError`` otherwise."""
    if client is None and not (library(X) == "dask" and "distributed" in sys.modules):
        return None
    from distributed import Client, default_client

    if client is None:
        try:
            return default_client()
        except ValueError:  # no client is active
            return None
    if not isinstance(client, Client):
        raise TypeError(f"client must be a dask.distributed.Client, not a {type(client).__name__}.")
    return client


def map_blocks(client: Any, work: Callable[..., Any], items: Iterable[tuple[Any, ...]], *, name: str) -> Iterator[Any]:
    """Apply ``work(*item)`` to every item and yield the results: in order here, as they finish on workers.

    A few items per thread are taken at a time, so that neither the scheduler nor this process holds many. The work of a
    worker that dies is repeated by another.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``; ``None`` works here.
    work
        A callable that can be pickled; it is sent to every worker once.
    items
        Arguments of each call.
    name
        Name of the work in the dashboard of dask.
    """
    if client is None:
        yield from (work(*item) for item in items)
        return
    import dask
    from distributed import as_completed

    stem = f"{name}-{uuid.uuid4().hex}"
    # A task, not scattered data: if the workers that hold it die, dask computes it again.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):  # it is sent only once
        shared = client.submit(partial(as_is, work), key=f"{stem}-job", pure=False)
    waiting, running = enumerate(items), as_completed(loop=client.loop)
    outstanding: set[Any] = set()

    def fill() -> None:
        room = _AHEAD * max(1, sum(client.nthreads().values())) - len(outstanding)
        for i, item in islice(waiting, max(0, room)):
            future = client.submit(call, shared, *item, key=f"{stem}-{i}", pure=False)
            outstanding.add(future)
            running.add(future)

    try:
        fill()
        for future in running:
            result = future.result()
            outstanding.discard(future)
            fill()
            yield result
    finally:
        client.cancel([*outstanding, shared])


def blocks_of_rows(n: int, block_rows: int) -> Iterator[slice]:
    """Split the rows ``[0, n)`` into blocks."""
    for start in range(0, n, block_rows):
        yield slice(start, min(start + block_rows, n))


def map_rows(
    work: Callable[..., Any],
    rep: Any,
    parts: Iterable[tuple[Any, ...]] | None = None,
    *,
    client: Any = None,
    name: str,
) -> Iterator[tuple[slice, Any]]:
    """Apply ``work(block, *rest)`` to blocks of rows of an embedding.

    Workers open an embedding on disk themselves; rows in memory are sent, by default fewer at a time. ``parts`` gives
    the rows of each block and further arguments of ``work``, by default all rows. Other parameters and the order of the
    results are as in :func:`map_blocks`; the rows of each block come with its result.
    """
    on_disk = None if client is None else OnDisk.find(rep)
    if parts is None:
        sent = client is not None and on_disk is None
        parts = ((rows,) for rows in blocks_of_rows(rep.shape[0], ROUNDED_ROWS if sent else READ_ROWS))
    items = ((rows, read_rows(rep, rows) if on_disk is None else None, *rest) for rows, *rest in parts)
    yield from map_blocks(client, partial(_on_rows, work, on_disk), items, name=name)


def _on_rows(
    work: Callable[..., Any], on_disk: OnDisk | None, rows: slice, block: np.ndarray | None, *rest: Any
) -> tuple[slice, Any]:
    return rows, work(read_rows(on_disk.open(), rows) if block is None and on_disk is not None else block, *rest)


def as_is(value: Any) -> Any:
    """A value as the result of a task: workers pass it on, and dask computes it again if they die."""
    return value

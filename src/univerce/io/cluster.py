"""Blocks of work on the workers of a dask cluster."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from univerce.io.blocks import Rows, library, row_reader
from univerce.io.source import Source

_AHEAD = 2  # blocks that wait for every thread of the workers


ONE_AT_A_TIME = threading.Lock()  # in a worker: one block is read and tokenized while another is embedded


def open_rows(source: Source, block_rows: int) -> Rows:
    """In a worker: what reads rows of a matrix in a file, opened once for all blocks of a call."""
    with ONE_AT_A_TIME:
        return _reader(source, block_rows)


@lru_cache(maxsize=1)
def _reader(source: Source, block_rows: int) -> Rows:
    return row_reader(source.open(), block_rows)


def find_client(client: Any, X: Any) -> Any:
    """The client to work with: the one given, or, as dask itself does, the active one for a dask array.

    Raises
    ------
    TypeError
        When ``client`` is something else.
    """
    if client is None and not (library(X) == "dask" and "distributed" in sys.modules):
        return None
    from distributed import Client, default_client

    if client is None:
        try:
            return default_client()
        except ValueError:  # none is active
            return None
    if not isinstance(client, Client):
        raise TypeError(f"client must be a dask.distributed.Client, not a {type(client).__name__}.")
    return client


def map_blocks(client: Any, work: Callable[..., Any], items: Iterable[tuple[Any, ...]], *, name: str) -> Iterator[Any]:
    """``work(*item)`` for every item, on the workers.

    A few items a thread are under way at any time, so that neither the scheduler nor this process holds many. What a
    worker was doing when it died is done again by another.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``.
    work
        A callable that can be pickled; it is sent to every worker once.
    items
        Arguments, taken when there is room for them.
    name
        What the dashboard calls the work.

    Yields
    ------
    What ``work`` returned, as it gets done.
    """
    import dask
    from distributed import as_completed

    stem = f"{name}-{uuid.uuid4().hex}"
    # A task, not scattered data: should the workers that have it die, dask makes it again.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):  # it is sent but once
        shared = client.submit(partial(as_is, work), key=f"{stem}-job", pure=False)
    waiting, running = enumerate(items), as_completed(loop=client.loop)
    outstanding: set[Any] = set()

    def fill() -> None:
        room = _AHEAD * max(1, sum(client.nthreads().values())) - len(outstanding)
        for i, item in islice(waiting, max(0, room)):
            future = client.submit(_call, shared, *item, key=f"{stem}-{i}", pure=False)
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


def as_is(value: Any) -> Any:
    """A value as the result of a task, which workers hand on to each other and dask makes again when they die."""
    return value


def _call(work: Callable[..., Any], *item: Any) -> Any:
    return work(*item)

"""Map over blocks, here or on the workers of a dask cluster."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from univerce.io.blocks import Rows, library, row_reader
from univerce.io.ondisk import OnDisk

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
    """The given client, or, as in dask itself, the active one if ``X`` is a dask array.

    Raises
    ------
    TypeError
        If ``client`` is something else.
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
    """Apply ``work(*item)`` to every item.

    A few items per thread are under way at any time, so that neither the scheduler nor this process holds many. The
    work of a worker that dies is done again by another.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``; ``None`` works here, in order.
    work
        A callable that can be pickled; it is sent to every worker once.
    items
        Arguments, taken when there is room for them.
    name
        Name of the work in the dashboard of dask.

    Yields
    ------
    Results as they finish.
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
    """A value as the result of a task: workers pass it on, and dask computes it again if they die."""
    return value


def _call(work: Callable[..., Any], *item: Any) -> Any:
    return work(*item)

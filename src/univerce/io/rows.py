"""Map over blocks of rows of an embedding, here or on the workers of a dask cluster.

Workers open an embedding on disk themselves. Rows in memory are read here and sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from univerce.io.cluster import map_blocks
from univerce.io.ondisk import OnDisk

READ_ROWS = 4096  # a multiple of the next, and the chunks of an atlas
ROUNDED_ROWS = 1024
"""Rows of one product where sums round with their number, and rows that are sent together: a few megabytes."""


def blocks_of_rows(n: int, block_rows: int) -> Iterator[slice]:
    """Split the rows ``[0, n)`` into blocks."""
    for start in range(0, n, block_rows):
        yield slice(start, min(start + block_rows, n))


def read_rows(rep: Any, rows: slice) -> np.ndarray:
    """Read ``[rows, n_dims]`` as float32."""
    return np.asarray(rep[rows], dtype=np.float32)


def map_rows(
    work: Callable[..., Any],
    rep: Any,
    parts: Iterable[tuple[Any, ...]] | None = None,
    *,
    client: Any = None,
    name: str,
) -> Iterator[tuple[slice, Any]]:
    """Apply ``work(block, *rest)`` to blocks of rows of an embedding.

    Parameters
    ----------
    work
        A callable that can be pickled.
    rep
        Embedding ``[n, n_dims]``.
    parts
        Rows of each block and further arguments of ``work``; by default all rows, fewer at a time if they are sent.
    client
        A ``dask.distributed.Client``; ``None`` works here.
    name
        Name of the work in the dashboard of dask.

    Yields
    ------
    Rows of each block and the result of ``work``: in order here, as they finish on workers.
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

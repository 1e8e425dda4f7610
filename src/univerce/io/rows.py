"""Work on blocks of rows of embeddings: here, or on the workers of a dask cluster.

A worker opens an embedding on disk itself. Rows that are in memory are read here and sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from univerce.io.cluster import map_blocks
from univerce.io.source import Source, find_source

READ_ROWS = 4096  # a multiple of the next, and the chunks of an atlas
ROUNDED_ROWS = 1024
"""Rows that are multiplied together where sums round with their number, and that are sent together: few megabytes."""


@dataclass(frozen=True, eq=False)
class Stored:
    """An embedding on disk, for a process that shall read some of its rows."""

    source: Source
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def find(cls, rep: Any) -> Stored | None:
        """Where an embedding lies; None when only this process has it."""
        source = find_source(rep)
        return None if source is None else cls(source, tuple(rep.shape), np.dtype(rep.dtype).str)

    def open(self) -> Any:
        """The embedding, not read yet; ``ValueError`` when this machine has another one there."""
        rep = self.source.open()
        found = tuple(rep.shape), np.dtype(rep.dtype).str
        if found != (self.shape, self.dtype):
            raise ValueError(
                f"The embedding at {self.source.where}{self.source.element} on the worker is another one "
                f"({found[0]} {found[1]}, not {self.shape} {self.dtype}); all workers must see the same files."
            )
        return rep


def blocks_of_rows(n: int, block_rows: int) -> Iterator[slice]:
    """The rows ``[0, n)`` in blocks."""
    for start in range(0, n, block_rows):
        yield slice(start, min(start + block_rows, n))


def read_rows(rep: Any, rows: slice) -> np.ndarray:
    """``[rows, n_dims]`` float32."""
    return np.asarray(rep[rows], dtype=np.float32)


def map_rows(
    work: Callable[..., Any],
    rep: Any,
    parts: Iterable[tuple[Any, ...]] | None = None,
    *,
    client: Any = None,
    name: str,
) -> Iterator[tuple[slice, Any]]:
    """``work(block, *rest)`` for blocks of rows of an embedding.

    Parameters
    ----------
    work
        A callable that can be pickled.
    rep
        Embedding ``[n, n_dims]``.
    parts
        The rows of each block, and what else ``work`` is told of it; by default all rows, fewer at a time where they
        have to be sent.
    client
        A ``dask.distributed.Client``; None works here.
    name
        What the dashboard of dask calls the work.

    Yields
    ------
    The rows of each block and what ``work`` returned; in order here, as they get done on workers.
    """
    stored = None if client is None else Stored.find(rep)
    if parts is None:
        sent = client is not None and stored is None
        parts = ((rows,) for rows in blocks_of_rows(rep.shape[0], ROUNDED_ROWS if sent else READ_ROWS))
    if client is None:
        for rows, *rest in parts:
            yield rows, work(read_rows(rep, rows), *rest)
        return
    items = ((rows, read_rows(rep, rows) if stored is None else None, *rest) for rows, *rest in parts)
    yield from map_blocks(client, partial(_on_rows, work, stored), items, name=name)


def _on_rows(
    work: Callable[..., Any], stored: Stored | None, rows: slice, block: np.ndarray | None, *rest: Any
) -> tuple[slice, Any]:
    return rows, work(read_rows(stored.open(), rows) if block is None and stored is not None else block, *rest)

"""Blocks of work on the workers of a dask cluster.

A worker opens the counts and the model itself: what travels is where they lie, and which block is meant.
"""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from univerce._settings import settings
from univerce.genes.load import load_table
from univerce.genes.table import gene_table_info
from univerce.model.blocks import Rows, library, row_reader
from univerce.model.checkpoint import find_model, load_network
from univerce.model.runtime import (
    Block,
    Drawing,
    Embedder,
    Genes,
    choose_batch_size,
    choose_device,
    choose_precision,
    embed_blocks,
    prepare,
)
from univerce.model.source import Source
from univerce.model.store import EmbeddingStore
from univerce.model.tokens import max_sentence_length

_AHEAD = 2  # blocks that wait for every thread of the workers
_ONE_AT_A_TIME = threading.Lock()  # in a worker: one block is read and tokenised while another is embedded


@dataclass(frozen=True, eq=False)
class SentTable:
    """A gene table that travels with the work; two of one digest are one."""

    table: ad.AnnData
    digest: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SentTable) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True)
class Job:
    """How to embed any block of a matrix, for a process that knows nothing yet."""

    model: str
    """Directory of the model, and its digest."""
    model_digest: str
    tables: str | tuple[SentTable, ...]
    """What the gene tables belong to, the name of a model or its directory; or the table of each species."""
    species: tuple[tuple[str, str, np.ndarray], ...]
    """Name, digest of the gene table and ``[n_vars]`` rows in it of each species."""
    drawing: Drawing
    where: str
    """What the counts are called in error messages."""
    device: str
    precision: str
    official: bool
    batch_size: int | str
    block_rows: int
    source: Source | None
    """Where the counts lie; None when they come with the block."""
    store: str | None
    """Where the embedding goes, so that blocks without columns come back; None when it comes back itself."""
    cache_dir: Path

    def __call__(self, k: int, names: np.ndarray, species: np.ndarray, counts: Any) -> Block:
        """Embed block ``k``.

        Parameters
        ----------
        k
            The block.
        names, species
            Names of its cells, and index of their species.
        counts
            Its rows when there is no source: any matrix that :func:`~univerce.model.blocks.iter_blocks` reads.
        """
        first, n = k * self.block_rows, len(names)
        store = None if self.store is None else EmbeddingStore.attach(self.store)
        if store is not None and (done := store.find(k)) is not None:  # by a worker that died before it could say so
            return Block(slice(first, first + n), done[:, :0], np.isnan(done[:, 0]), 0)
        if counts is None and self.source is not None:
            counts = open_rows(self.source, self.block_rows)(first, first + n)
        elif library(counts) == "dask":
            counts = counts.compute(scheduler="synchronous")  # here, not by a task that would wait for this one
        with _ONE_AT_A_TIME:
            embedders = [self._embedder(i) for i in range(len(self.species))]
        genes = [Genes(e.table, rows) for e, (_, _, rows) in zip(embedders, self.species, strict=True)]
        ready = list(
            prepare(
                counts, n, names=names, species=species, genes=genes, drawing=self.drawing, where=self.where,
                with_bag=embedders[0].network.config.bag,
            )
        )  # fmt: skip
        with _ONE_AT_A_TIME:
            (block,) = embed_blocks(iter(ready), embedders)
        values = block.values
        if store is not None:
            store.write(k, values)
            values = values[:, :0]
        return Block(slice(first, first + n), values, block.missing, block.n_pooled)

    def _embedder(self, i: int) -> Embedder:
        (species, digest, _), tables = self.species[i], self.tables if isinstance(self.tables, str) else self.tables[i]
        with settings.override(cache_dir=self.cache_dir):
            return _embedder(
                self.model, self.model_digest, self.device, self.precision, tables, species, digest,
                self.official, self.batch_size, self.drawing,
            )  # fmt: skip


def open_rows(source: Source, block_rows: int) -> Rows:
    """In a worker: what reads rows of a matrix in a file, opened once for all blocks of a call."""
    with _ONE_AT_A_TIME:
        return _reader(source, block_rows)


@lru_cache(maxsize=1)
def _reader(source: Source, block_rows: int) -> Rows:
    return row_reader(source.open(), block_rows)


@lru_cache(maxsize=1)
def _network(path: str, digest: str, device: str, precision: str) -> Any:
    """The network, loaded once by a process; ``ValueError`` when this machine has another one at the path."""
    model = find_model(path)
    if model.digest != digest:
        raise ValueError(
            f"The model at {path} on the worker is another one (digest {model.digest[:12]}, not {digest[:12]}); all "
            "workers must see the same files."
        )
    return load_network(model, device=choose_device(device), precision=precision)


@lru_cache(maxsize=16)
def _embedder(
    path: str, digest: str, device: str, precision: str, tables: str | SentTable, species: str, table_digest: str,
    official: bool, batch_size: int | str, drawing: Drawing,
) -> Embedder:  # fmt: skip
    network = _network(path, digest, device, precision)
    table = tables.table if isinstance(tables, SentTable) else load_table(species, model=tables)
    if (found := str(gene_table_info(table)["digest"])) != table_digest:
        raise ValueError(
            f"The gene table of {species!r} on the worker is another one (digest {found[:12]}, not "
            f"{table_digest[:12]}); all workers must see the same files."
        )
    length = max_sentence_length(drawing.n_sample, 25, drawing.max_length)
    size = choose_batch_size(batch_size, choose_device(device), network.config.d_model, length, precision)
    return Embedder(network, table, official=official, batch_size=size)


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


def worker_precision(client: Any, precision: str, device: str, d_model: int) -> str:
    """What ``precision="auto"`` means on the workers, which may have GPUs where this process has none."""
    if precision != "auto":
        return precision
    return str(client.submit(_choose_precision, device, d_model, pure=False).result())


def _choose_precision(device: str, d_model: int) -> str:
    return choose_precision("auto", choose_device(device), d_model)


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

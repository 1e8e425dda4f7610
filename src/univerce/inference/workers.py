"""Blocks of an embedding on the workers of a dask cluster.

A worker opens the counts and the model itself: only their places and the number of a block are sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from univerce._device import choose_device, choose_precision
from univerce._settings import progress_bar, settings
from univerce.genes.load import load_table
from univerce.genes.table import gene_table_info
from univerce.inference.block import Block, n_cells
from univerce.inference.embed import load_encoder, precision_here
from univerce.inference.encoder import Encoder
from univerce.inference.inputs import Genes, Inputs
from univerce.inference.store import EmbeddingStore
from univerce.io.blocks import iter_blocks
from univerce.io.ondisk import OnDisk, library
from univerce.io.workers import ONE_AT_A_TIME, map_blocks, open_rows
from univerce.model.find import find_model

_SETTINGS = ("cache_dir", "device", "precision", "batch_size")


@dataclass(frozen=True)
class TableRef:
    """A gene table that a worker finds with the model, or that travels because the caller passed it."""

    species: str
    digest: str
    given: bool
    table: ad.AnnData | None = field(compare=False)

    def open(self, model: str) -> ad.AnnData:
        """The table; ``ValueError`` if it differs on this machine."""
        table = load_table(self.species, model=model) if self.table is None else self.table
        if (found := str(gene_table_info(table)["digest"])) != self.digest:
            raise ValueError(
                f"The gene table of {self.species!r} differs on the worker (digest {found[:12]}, not "
                f"{self.digest[:12]}). All workers must see the same files."
            )
        return table


@dataclass(frozen=True)
class Job:
    """Embed any block of a matrix in a process that knows nothing yet."""

    inputs: Inputs
    """Without cells and gene tables; ``X`` is where the counts are, or ``None`` if they come with the block."""
    tables: tuple[TableRef, ...]
    official: bool
    block_rows: int
    store: str | None
    """Path of the store. Blocks then come back without columns."""
    settings: Mapping[str, Any]

    def __call__(self, k: int, names: np.ndarray, species: np.ndarray, counts: Any) -> Block:
        """Embed block ``k``: cells with names, codes of species, and counts unless these are in a file."""
        with settings.override(**self.settings):
            return self._embed(k, names, species, counts)

    def _embed(self, k: int, names: np.ndarray, species: np.ndarray, counts: Any) -> Block:
        rows = slice(k * self.block_rows, k * self.block_rows + len(names))
        store = None if self.store is None else EmbeddingStore.attach(self.store)
        if store is not None and (done := store.find(k)) is not None:  # by a worker that died before it reported
            return Block(rows, done[:, :0], np.isnan(done[:, 0]), 0)
        if counts is None:
            counts = open_rows(self.inputs.X, self.block_rows)(rows.start, rows.stop)
        elif library(counts) == "dask":
            counts = counts.compute(scheduler="synchronous")  # here, not by a task that would wait for this one
        with ONE_AT_A_TIME:
            key = tuple(sorted(self.settings.items()))
            place = str(self.inputs.model.path), self.inputs.model.digest, self.inputs.model_name
            encoder, tables = _encoder(*place, self.tables, self.official, key)
        genes = [replace(g, table=table) for g, table in zip(self.inputs.genes, tables, strict=True)]
        inputs = replace(self.inputs, X=counts, names=names, species=species, genes=genes)
        ready = list(encoder.prepare(inputs, len(names)))
        with ONE_AT_A_TIME:
            (block,) = encoder.embed(iter(ready))
        values = block.values
        if store is not None:
            store.write(k, values)
            values = values[:, :0]
        return Block(rows, values, block.missing, block.n_pooled)


@lru_cache(maxsize=2)
def _encoder(
    path: str, digest: str, name: str, tables: tuple[TableRef, ...], official: bool, key: Any
) -> tuple[Encoder, list[ad.AnnData]]:
    """The model with its tables under the current settings, whose values are in ``key``; loaded once per process.

    ``ValueError`` if the model differs on this machine.
    """
    model = find_model(path)
    if model.digest != digest:
        raise ValueError(
            f"The model at {path} differs on the worker (digest {model.digest[:12]}, not {digest[:12]}). All "
            "workers must see the same files."
        )
    opened = [table.open(name) for table in tables]
    return load_encoder(model, opened, official=official, precision=settings.precision), opened


def embed_on_workers(
    inputs: Inputs, blocks: Sequence[int], *, block_rows: int, official: bool, precision: str, store: Path | None
) -> Iterator[Block]:
    """Embed blocks on the workers of ``inputs.client`` and yield them as they finish, with a progress bar over cells.

    Blocks come back without columns if the workers write them to a ``store``.
    """
    if not blocks:
        return
    job = Job(
        inputs=replace(
            inputs, X=OnDisk.find(inputs.X), names=inputs.names[:0], species=inputs.species[:0],
            genes=[replace(g, table=None) for g in inputs.genes],
            model=replace(inputs.model, path=inputs.model.path.resolve()), client=None, adata=None,
        ),
        tables=tuple(map(_reference, inputs.species_names, inputs.genes)),
        official=official,
        block_rows=block_rows,
        store=None if store is None else str(store.resolve()),
        settings={name: getattr(settings, name) for name in _SETTINGS}
        | {"cache_dir": settings.cache_dir.resolve(), "precision": precision},
    )  # fmt: skip
    with progress_bar(total=n_cells(inputs, blocks, block_rows), unit="cell", desc="embed") as bar:
        for block in map_blocks(inputs.client, job, _items(inputs, blocks, job), name="uce_embed"):
            bar.update(block.rows.stop - block.rows.start)
            yield block


def _reference(species: str, genes: Genes) -> TableRef:
    table = genes.table.to_memory() if genes.given and genes.table.isbacked else genes.table
    digest = str(gene_table_info(genes.table)["digest"])
    return TableRef(species, digest, genes.given, table if genes.given else None)


def _items(inputs: Inputs, blocks: Sequence[int], job: Job) -> Iterator[tuple[Any, ...]]:
    """Arguments of each block; its counts, or how dask would compute them, unless they are in a file."""
    size, X = job.block_rows, inputs.X
    parts: Iterator[tuple[int, Any]]
    if job.inputs.X is not None:
        parts = ((k, None) for k in blocks)
    elif library(X) == "dask":
        parts = ((k, X[k * size : (k + 1) * size]) for k in blocks)
    else:
        parts = ((rows.start // size, part) for rows, part in iter_blocks(X, size, blocks=blocks))
    for k, part in parts:
        rows = slice(k * size, min((k + 1) * size, len(inputs.names)))
        yield k, inputs.names[rows], inputs.species[rows], part


def embedding_precision(inputs: Inputs) -> str:
    """The precision of the settings where the cells are embedded: workers may have GPUs that this process lacks."""
    if inputs.client is None or not inputs.model.reads_sentences:
        return precision_here(inputs)
    if settings.precision != "auto":
        return settings.precision
    width = inputs.model.config.d_model
    return str(inputs.client.submit(_choose_precision, settings.device, width, pure=False).result())


def _choose_precision(device: str, d_model: int) -> str:
    return choose_precision(choose_device(device), d_model)

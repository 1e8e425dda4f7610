"""Blocks of work on the workers of a dask cluster.

A worker opens the counts and the model itself: what travels is where they lie, and which block is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import anndata as ad
import numpy as np

from univerce._device import choose_device, choose_precision
from univerce._settings import settings
from univerce.genes.load import load_table
from univerce.genes.table import gene_table_info
from univerce.inference.runtime import Block, Drawing, Embedder, Genes, embed_blocks, prepare
from univerce.inference.store import EmbeddingStore
from univerce.io.blocks import library
from univerce.io.cluster import ONE_AT_A_TIME, open_rows
from univerce.io.source import Source
from univerce.model.checkpoint import find_model, load_network


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
    official: bool
    block_rows: int
    source: Source | None
    """Where the counts lie; None when they come with the block."""
    store: str | None
    """Where the embedding goes, so that blocks without columns come back; None when it comes back itself."""
    settings: Mapping[str, Any]
    """Cache directory, device, precision and batch size."""

    def __call__(self, k: int, names: np.ndarray, species: np.ndarray, counts: Any) -> Block:
        """Embed block ``k``.

        Parameters
        ----------
        k
            The block.
        names, species
            Names of its cells, and index of their species.
        counts
            Its rows when there is no source: any matrix that :func:`~univerce.io.blocks.iter_blocks` reads.
        """
        first, n = k * self.block_rows, len(names)
        store = None if self.store is None else EmbeddingStore.attach(self.store)
        if store is not None and (done := store.find(k)) is not None:  # by a worker that died before it could say so
            return Block(slice(first, first + n), done[:, :0], np.isnan(done[:, 0]), 0)
        if counts is None and self.source is not None:
            counts = open_rows(self.source, self.block_rows)(first, first + n)
        elif library(counts) == "dask":
            counts = counts.compute(scheduler="synchronous")  # here, not by a task that would wait for this one
        with ONE_AT_A_TIME:
            embedders = [self._embedder(i) for i in range(len(self.species))]
        genes = [Genes(e.table, rows) for e, (_, _, rows) in zip(embedders, self.species, strict=True)]
        ready = list(
            prepare(
                counts, n, names=names, species=species, genes=genes, drawing=self.drawing, where=self.where,
                with_bag=embedders[0].network.config.bag,
            )
        )  # fmt: skip
        with ONE_AT_A_TIME:
            (block,) = embed_blocks(iter(ready), embedders)
        values = block.values
        if store is not None:
            store.write(k, values)
            values = values[:, :0]
        return Block(slice(first, first + n), values, block.missing, block.n_pooled)

    def _embedder(self, i: int) -> Embedder:
        (species, digest, _), tables = self.species[i], self.tables if isinstance(self.tables, str) else self.tables[i]
        with settings.override(**self.settings):
            key = tuple(sorted(self.settings.items()))
            return _embedder(self.model, self.model_digest, tables, species, digest, self.official, key)


@lru_cache(maxsize=1)
def _network(path: str, digest: str, key: Any) -> Any:
    """The network, loaded once by a process; ``ValueError`` if this machine has another one at the path."""
    model = find_model(path)
    if model.digest != digest:
        raise ValueError(
            f"The model at {path} on the worker is another one (digest {model.digest[:12]}, not {digest[:12]}); all "
            "workers must see the same files."
        )
    return load_network(model, device=choose_device(), precision=settings.precision)


@lru_cache(maxsize=16)
def _embedder(
    path: str, digest: str, tables: str | SentTable, species: str, table_digest: str, official: bool, key: Any
) -> Embedder:
    """An embedder under the current settings, of which ``key`` holds the values."""
    network = _network(path, digest, key)
    table = tables.table if isinstance(tables, SentTable) else load_table(species, model=tables)
    if (found := str(gene_table_info(table)["digest"])) != table_digest:
        raise ValueError(
            f"The gene table of {species!r} on the worker is another one (digest {found[:12]}, not "
            f"{table_digest[:12]}); all workers must see the same files."
        )
    return Embedder(network, table, official=official)


def worker_precision(client: Any, d_model: int) -> str:
    """The precision of the settings on the workers, which may have GPUs where this process has none."""
    if settings.precision != "auto":
        return settings.precision
    return str(client.submit(_choose_precision, settings.device, d_model, pure=False).result())


def _choose_precision(device: str, d_model: int) -> str:
    return choose_precision(choose_device(device), d_model)

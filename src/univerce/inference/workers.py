"""The blocks of an embedding, on the workers of a dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from univerce._settings import settings
from univerce.genes.load import BUNDLED_MODEL
from univerce.genes.table import gene_table_info
from univerce.inference.cluster import Job, SentTable
from univerce.inference.inputs import Inputs
from univerce.inference.runtime import Block, Genes
from univerce.io.blocks import iter_blocks, library
from univerce.io.cluster import map_blocks
from univerce.io.source import find_source


def embed_on_workers(
    client: Any,
    inputs: Inputs,
    blocks: Sequence[int],
    *,
    block_rows: int,
    tables: str | Path | None,
    send_tables: bool,
    precision: str,
    official: bool,
    store: Path | None,
    show: bool,
) -> Iterator[Block]:
    """The given blocks as they are done, under a progress bar over the cells.

    Parameters
    ----------
    client
        A ``dask.distributed.Client``.
    inputs
        What is embedded.
    blocks, block_rows
        The blocks, and the rows in one.
    tables
        The model as it was named: gene tables are found by it.
    send_tables
        Whether the gene tables are sent instead.
    precision, official
        How it is embedded.
    store
        Where workers write. Blocks then come back without columns.
    show
        Whether to show the bar.
    """
    if not blocks:
        return
    digests = [str(gene_table_info(g.table)["digest"]) for g in inputs.genes]
    named = _resolved(BUNDLED_MODEL if tables is None else tables)
    job = Job(
        model=str(inputs.model.path.resolve()),
        model_digest=inputs.model.digest,
        tables=tuple(map(_sent, inputs.genes, digests)) if send_tables else named,
        species=tuple(zip(inputs.species_names, digests, (g.rows for g in inputs.genes), strict=True)),
        drawing=inputs.drawing,
        where=inputs.where,
        official=official,
        block_rows=block_rows,
        source=find_source(inputs.X),
        store=None if store is None else str(store.resolve()),
        settings={
            "cache_dir": settings.cache_dir.resolve(),
            "device": settings.device,
            "precision": precision,
            "batch_size": settings.batch_size,
        },
    )
    with tqdm(total=n_cells(inputs, blocks, block_rows), unit="cell", desc="embed", disable=not show) as bar:
        for block in map_blocks(client, job, _items(inputs, blocks, job), name="uce_embed"):
            bar.update(block.rows.stop - block.rows.start)
            yield block


def n_cells(inputs: Inputs, blocks: Sequence[int], block_rows: int) -> int:
    """Number of cells in some blocks."""
    n = len(inputs.names)
    return sum(min(block_rows, n - k * block_rows) for k in blocks)


def _items(inputs: Inputs, blocks: Sequence[int], job: Job) -> Iterator[tuple[Any, ...]]:
    """What a worker is told of each block: where there is no source, its counts, or how dask would make them."""
    size, X = job.block_rows, inputs.X
    parts: Iterator[tuple[int, Any]]
    if job.source is not None:
        parts = ((k, None) for k in blocks)
    elif library(X) == "dask":
        parts = ((k, X[k * size : (k + 1) * size]) for k in blocks)
    else:
        parts = ((rows.start // size, part) for rows, part in iter_blocks(X, size, blocks=blocks))
    for k, part in parts:
        rows = slice(k * size, min((k + 1) * size, len(inputs.names)))
        yield k, inputs.names[rows], inputs.species[rows], part


def _sent(genes: Genes, digest: str) -> SentTable:
    return SentTable(genes.table.to_memory() if genes.table.isbacked else genes.table, digest)


def _resolved(model: str | Path) -> str:
    path = Path(model)
    return str(path.resolve()) if path.is_dir() else str(model)

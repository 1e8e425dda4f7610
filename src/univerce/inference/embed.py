"""Embed cells in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anndata as ad
import numpy as np

from univerce._device import choose_device, choose_precision
from univerce._settings import progress_bar
from univerce.inference.block import BLOCK_ROWS, Block, n_cells
from univerce.inference.encoder import Encoder
from univerce.inference.inputs import Inputs
from univerce.inference.linear import LinearEncoder
from univerce.io.pipeline import Stages
from univerce.model.directory import Model


def encoder_of(inputs: Inputs, *, precision: str | None = None, official: bool = False) -> Encoder:
    """Load the model and the gene tables of some inputs, by default in the precision of the settings."""
    precision = precision_here(inputs) if precision is None else precision
    return load_encoder(inputs.model, [genes.table for genes in inputs.genes], official=official, precision=precision)


def precision_here(inputs: Inputs) -> str:
    """The precision of the settings on this machine; a model that reads counts has one."""
    if not inputs.model.reads_sentences:
        return "float32"
    return choose_precision(choose_device(), inputs.model.config.d_model)


def embed_here(
    inputs: Inputs, blocks: Sequence[int], *, block_rows: int, official: bool, precision: str, stages: Stages
) -> Iterator[Block]:
    """Embed blocks in this process and yield them in order, with a progress bar."""
    if not blocks:
        return
    encoder = encoder_of(inputs, precision=precision, official=official)
    prepared = encoder.prepare(inputs, block_rows, blocks=blocks, stages=stages)
    n_draws = 1 if inputs.drawing is None else inputs.drawing.n_draws
    total, embedded = n_cells(inputs, blocks, block_rows), 0
    with progress_bar(total=total, unit="cell", desc="embed") as bar:

        def done(n: int) -> None:
            nonlocal embedded
            embedded += n
            bar.update(embedded // n_draws - bar.n)

        yield from encoder.embed(prepared, done, stages)


def embed_inputs(inputs: Inputs, encoder: Encoder, done: Callable[[int], Any] | None = None) -> np.ndarray:
    """Embed all cells, ``[n_obs, output_dim]`` float32; NaN for cells without counts.

    ``done`` is called with the number of embedded sentences or cells after every batch.
    """
    out = np.empty((len(inputs.names), inputs.model.config.output_dim), dtype=np.float32)
    for block in encoder.embed(encoder.prepare(inputs, BLOCK_ROWS), done):
        out[block.rows] = block.values
    return out


def load_encoder(
    model: Model, tables: Sequence[ad.AnnData], *, official: bool = False, precision: str = "float32"
) -> Encoder:
    """Load a model for gene tables, one per species; ``official`` and ``precision`` are for sentences."""
    if model.reads_sentences:
        from univerce.inference.sentence_encoder import SentenceEncoder  # imports torch

        return SentenceEncoder(model, tables, official=official, precision=precision)
    return LinearEncoder(model, tables)

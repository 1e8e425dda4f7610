"""Embed all cells of an input, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from univerce._device import choose_device, choose_precision
from univerce.inference.embedder import Embedder, embed_blocks
from univerce.inference.inputs import Inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.model.checkpoint import read_network

BLOCK_ROWS = 500
E = TypeVar("E", bound=Embedder)


def load_embedders(inputs: Inputs, kind: type[E], precision: str | None = None) -> list[E]:
    """Load the network, by default in the precision of the settings, and pair it with the table of each species."""
    device = choose_device()
    precision = choose_precision(device, inputs.model.config.d_model) if precision is None else precision
    network = read_network(inputs.model, device, precision)
    return [kind(network, genes.table) for genes in inputs.genes]


def embed_inputs(inputs: Inputs, embedders: Sequence[Embedder], done: Callable[[int], Any] | None = None) -> np.ndarray:
    """Embed all cells, ``[n_obs, output_dim]`` float32; NaN for cells without counts.

    ``done`` is called with the number of embedded sentences after every batch.
    """
    out = np.empty((len(inputs.names), inputs.model.config.output_dim), dtype=np.float32)
    for block in embed_blocks(draw_sentences(inputs, BLOCK_ROWS, with_bag=inputs.model.config.bag), embedders, done):
        out[block.rows] = block.values
    return out

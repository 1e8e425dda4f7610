"""Models that read sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import anndata as ad
import numpy as np

from univerce._device import choose_device
from univerce.genes.table import N_SPECIAL
from univerce.inference.attribution import BLOCK_ROWS, Attributor, count_draws
from univerce.inference.block import Block
from univerce.inference.deletion import embed_deleted
from univerce.inference.embedder import Embedder, embed_blocks
from univerce.inference.encoder import Attributed, Deleted
from univerce.inference.inputs import Inputs
from univerce.inference.sentence_blocks import Drawn, draw_sentences, recorded_sentences
from univerce.io.pipeline import Stages
from univerce.model.checkpoint import read_network
from univerce.model.directory import Model


class SentenceEncoder:
    """A network with the gene tables of all species; see :class:`univerce.inference.encoder.Encoder`."""

    unit = "sentence"

    def __init__(self, model: Model, tables: Sequence[ad.AnnData], *, official: bool, precision: str) -> None:
        network = read_network(model, device=choose_device(), precision=precision)
        self.embedders = [Embedder(network, table, official=official) for table in tables]

    def prepare(
        self, inputs: Inputs, block_rows: int, *, blocks: Sequence[int] | None = None, stages: Stages | None = None
    ) -> Iterator[tuple[slice, list[Drawn]]]:
        """Draw the sentences, or take those on record."""
        recorded = None if inputs.adata is None else recorded_sentences(inputs)
        return draw_sentences(inputs, block_rows, sentences=recorded, blocks=blocks, stages=stages)

    def embed(
        self, prepared: Iterator[Any], done: Callable[[int], Any] | None = None, stages: Stages | None = None
    ) -> Iterator[Block]:
        """Embed sentences, each species with its table."""
        return embed_blocks(prepared, self.embedders, done, stages)

    def delete(
        self, inputs: Inputs, tokens: Sequence[Mapping[str, np.ndarray]], done: Callable[[int], Any]
    ) -> Iterator[Deleted]:
        """Replace the draws of the genes; see :mod:`univerce.inference.deletion`."""
        return embed_deleted(inputs, self.embedders, tokens, done)

    def attribute(self, inputs: Inputs, direction: np.ndarray, n_steps: int) -> Iterator[Attributed]:
        """Attribute by integrated gradients; see :mod:`univerce.inference.attribution`."""
        attributor = Attributor(self.embedders[0].network, self.embedders[0].table)
        draws = count_draws(inputs)
        rows = np.flatnonzero(draws) - N_SPECIAL
        for block, groups in draw_sentences(inputs, BLOCK_ROWS):
            for group in groups:
                values, output, start = attributor.attribute(group.draws[0], direction, draws, n_steps=n_steps)
                yield Attributed(block.start + group.cells, rows, values[:, rows], output, start)

"""What a model does with cells, whether it reads sentences or counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from univerce.inference.block import Block
from univerce.inference.inputs import Inputs
from univerce.io.pipeline import Stages


class Deleted(NamedTuple):
    """Cells without the genes of a deletion."""

    name: str
    expressing: np.ndarray
    """Cells that express its genes."""
    changed: np.ndarray
    """Cells among them whose input changes."""
    values: np.ndarray
    """``[n_changed, output_dim]`` their embeddings."""


class Attributed(NamedTuple):
    """Attributions of some cells."""

    cells: np.ndarray
    rows: np.ndarray
    """Rows of the gene table of the genes that occur in any cell, the same for all cells."""
    values: np.ndarray
    """``[n_cells, n_rows]`` float64, NaN for cells without counts."""
    output: np.ndarray
    """``[n_cells]`` cosine of each cell with the direction."""
    baseline: np.ndarray
    """``[n_cells]`` cosine of its baseline."""


class Encoder(Protocol):
    """A model with the gene tables of all species of some inputs."""

    unit: str
    """What a progress bar counts."""

    def prepare(
        self, inputs: Inputs, block_rows: int, *, blocks: Sequence[int] | None = None, stages: Stages | None = None
    ) -> Iterator[Any]:
        """Read blocks of cells and turn them into what the model reads."""

    def embed(
        self, prepared: Iterator[Any], done: Callable[[int], Any] | None = None, stages: Stages | None = None
    ) -> Iterator[Block]:
        """Embed prepared blocks while the next is prepared; ``done`` is called with the number of units."""

    def delete(
        self, inputs: Inputs, tokens: Sequence[Mapping[str, np.ndarray]], done: Callable[[int], Any]
    ) -> Iterator[Deleted]:
        """Embed cells without genes, whose local token ids are given by deletion for each species."""

    def attribute(self, inputs: Inputs, direction: np.ndarray, n_steps: int) -> Iterator[Attributed]:
        """Attribute the cosine of cells of one species with a unit vector to genes."""

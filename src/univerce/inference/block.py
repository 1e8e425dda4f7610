"""Blocks of counts to embed, and of embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from univerce._validate import check_counts
from univerce.inference.inputs import Inputs
from univerce.io.blocks import read_ahead
from univerce.io.pipeline import Stages

BLOCK_ROWS = 500  # a multiple of the reference's batch of 25


@dataclass(frozen=True)
class Group:
    """Cells of one species in a block of rows."""

    species: int
    cells: np.ndarray
    """Positions in the block."""
    counts: sparse.csr_matrix
    """``[cells, n_vars]``."""


@dataclass(frozen=True)
class Block:
    """Embeddings of consecutive rows."""

    rows: slice
    values: np.ndarray
    """``[rows, output_dim]`` float32; NaN where a cell has no count in any gene."""
    missing: np.ndarray
    """``[rows]`` bool: the cell has no count in any gene."""
    n_pooled: int = 0
    """Number of cells whose chromosomes were pooled to fit the sentence."""

    def __post_init__(self) -> None:
        """Raise ``ValueError`` if a cell with counts has values that are not finite."""
        if bad := int((~np.isfinite(self.values[~self.missing])).any(axis=1).sum()):
            raise ValueError(
                f"The model returns values that are not finite for {bad} of the cells {self.rows.start} to "
                f"{self.rows.stop - 1}: its weights overflow. Try uc.settings.precision = 'float32'."
            )


def read_groups(
    inputs: Inputs, block_rows: int, *, blocks: Sequence[int] | None = None, stages: Stages | None = None
) -> Iterator[tuple[slice, list[Group]]]:
    """Read blocks of rows, all by default, while the last one is used, and check that they are counts.

    Yields
    ------
    The rows of each block and its cells by species.
    """
    stages = Stages() if stages is None else stages
    for rows, counts in read_ahead(inputs.X, block_rows, blocks=blocks, stages=stages):
        check_counts(counts, where=inputs.where)
        species = inputs.species[rows]
        groups = []
        for k in np.unique(species):
            cells = np.flatnonzero(species == k)
            groups.append(Group(int(k), cells, counts if len(cells) == counts.shape[0] else counts[cells]))
        yield rows, groups


def n_cells(inputs: Inputs, blocks: Sequence[int], block_rows: int) -> int:
    """Number of cells in some blocks."""
    n = len(inputs.names)
    return sum(min(block_rows, n - k * block_rows) for k in blocks)

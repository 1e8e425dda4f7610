"""One pass over the counts of a data set: the cells to train on and the frequency of each gene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from univerce._validate import check_counts
from univerce.io.blocks import iter_blocks

MAX_HELD_OUT = 1000
_BLOCK_ROWS = 2048


@dataclass(frozen=True)
class Survey:
    """The cells and gene frequencies of a data set."""

    training: np.ndarray
    """Cells to train on, sorted."""
    validation: np.ndarray
    """Held-out cells, sorted."""
    measured: np.ndarray
    """Ranks of the genes that the data set measures, sorted."""
    frequency: np.ndarray
    """``[n_genes]`` by rank, share of the training cells with a count."""
    total: float
    """Sum of all counts."""

    @property
    def smooth(self) -> np.ndarray:
        """The frequency, clipped to half a cell from 0 and 1."""
        half = 0.5 / len(self.training)
        return np.clip(self.frequency, half, 1 - half)


def survey(
    X: Any, var_rank: np.ndarray, n_genes: int, *, held_out: float, rng: np.random.Generator, where: str
) -> Survey:
    """Read the counts once, to find cells and gene frequencies.

    Cells with fewer than two expressed genes, or with a count in every measured gene, are left out. ``var_rank`` is the
    rank of each variable's gene (-1 for none), ``held_out`` the share of the cells to hold out (at most 1,000),
    ``where`` the name of the data set in messages. Raises ``ValueError`` for values that are not counts, or without a
    cell to train on.
    """
    measured = np.unique(var_rank[var_rank >= 0])
    to_rank = columns_added(var_rank, n_genes)
    usable = []
    expressed = np.zeros(n_genes, dtype=np.int64)
    total = 0.0
    for rows, block in iter_blocks(X, _BLOCK_ROWS):
        check_counts(block, where=where)
        genes = expressed_genes(block, to_rank)
        n = np.diff(genes.indptr)
        good = (n >= 2) & (n < len(measured))
        usable.append(rows.start + np.flatnonzero(good))
        expressed += np.bincount(genes[good].indices, minlength=n_genes)
        total += float(block.data.sum(dtype=np.float64))
    cells = rng.permutation(np.concatenate(usable)) if usable else np.empty(0, dtype=np.int64)
    if not len(cells):
        raise ValueError(f"{where} has no cell to train on: a cell needs counts in at least two genes and not in all.")
    n_validation = min(round(held_out * len(cells)), MAX_HELD_OUT, len(cells) - 1)
    training, validation = np.sort(cells[n_validation:]), np.sort(cells[:n_validation])
    for _, block in iter_blocks(X, 1, blocks=validation):
        expressed -= np.bincount(expressed_genes(block, to_rank).indices, minlength=n_genes)
    return Survey(training, validation, measured, expressed / len(training), total)


def columns_added(column: np.ndarray, n_columns: int) -> sparse.csr_matrix:
    """``[n_vars, n_columns]`` matrix that sums variables into columns, -1 for none."""
    var = np.flatnonzero(column >= 0)
    return sparse.csr_matrix((np.ones(len(var)), (var, column[var])), shape=(len(column), n_columns))


def expressed_genes(block: sparse.csr_matrix, to_rank: sparse.csr_matrix) -> sparse.csr_matrix:
    """``[n_cells, n_genes]`` counts of the genes, by :func:`columns_added`, without stored zeros."""
    genes = sparse.csr_matrix(block @ to_rank)
    genes.eliminate_zeros()
    return genes

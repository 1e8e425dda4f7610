"""Linear models: one sparse product a block, and closed forms for attribution and deletion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
from scipy import sparse

from univerce.genes.table import N_SPECIAL
from univerce.inference.block import BLOCK_ROWS, Block, read_groups
from univerce.inference.encoder import Attributed, Deleted
from univerce.inference.inputs import Genes, Inputs
from univerce.io.pipeline import Stages, ahead
from univerce.model.directory import Model
from univerce.model.linear import Linear, gene_weights

_TINY = 1e-12


class Weighed(NamedTuple):
    """Cells of one species in a block of rows."""

    species: int
    cells: np.ndarray
    """Positions in the block."""
    counts: sparse.csr_matrix
    """``[cells, n_vars]``."""
    weights: sparse.csr_matrix
    """``[cells, n_genes]`` of :func:`univerce.model.linear.gene_weights`."""
    genes: Selected


class Selected(NamedTuple):
    """The genes of one species in a matrix, in the order of its variables."""

    rows: np.ndarray
    """``[n_genes]`` rows of the gene table."""
    columns: np.ndarray
    """``[n_vars]`` gene of each variable, -1 for none."""
    vectors: np.ndarray
    """``[n_genes, output_dim]``."""


class LinearEncoder:
    """A linear model with the gene tables of all species; see :class:`univerce.inference.encoder.Encoder`."""

    unit = "cell"

    def __init__(self, model: Model, tables: Sequence[ad.AnnData]) -> None:
        self.model, self.tables = Linear.read(model), tables
        self._known = [np.zeros(table.n_obs, dtype=bool) for table in tables]
        self._vectors = [np.empty((table.n_obs, self.model.config.output_dim), dtype=np.float32) for table in tables]

    def prepare(
        self, inputs: Inputs, block_rows: int, *, blocks: Sequence[int] | None = None, stages: Stages | None = None
    ) -> Iterator[tuple[slice, list[Weighed]]]:
        """Weigh the genes of each cell."""
        stages = Stages() if stages is None else stages
        selected = [self._select(k, genes) for k, genes in enumerate(inputs.genes)]
        for rows, groups in read_groups(inputs, block_rows, blocks=blocks, stages=stages):
            with stages.measure("weigh"):
                weighed = []
                for group in groups:
                    genes = selected[group.species]
                    weights = self._weigh(group.counts, genes)
                    weighed.append(Weighed(group.species, group.cells, group.counts, weights, genes))
            yield rows, weighed

    def embed(
        self, prepared: Iterator[Any], done: Callable[[int], Any] | None = None, stages: Stages | None = None
    ) -> Iterator[Block]:
        """Sum the vectors of the genes."""
        stages = Stages() if stages is None else stages
        for rows, groups in ahead(prepared):
            values = np.empty((rows.stop - rows.start, self.model.config.output_dim), dtype=np.float32)
            with stages.measure("sum"):
                for group in groups:
                    values[group.cells] = self.model.cells(group.weights, group.genes.vectors)
            if done is not None:
                done(len(values))
            yield Block(rows, values, np.isnan(values[:, 0]))

    def delete(
        self, inputs: Inputs, tokens: Sequence[Mapping[str, np.ndarray]], done: Callable[[int], Any]
    ) -> Iterator[Deleted]:
        """Set the counts of the genes to zero."""
        for rows, groups in self.prepare(inputs, BLOCK_ROWS):
            for group in groups:
                cells = rows.start + group.cells
                for name, some in tokens[group.species].items():
                    gone = np.isin(group.genes.rows, some - N_SPECIAL)
                    expressing = np.flatnonzero(np.asarray(group.weights[:, gone].sum(axis=1)).ravel() > 0)
                    columns = np.where(gone[group.genes.columns], -1, group.genes.columns)
                    left = self._weigh(group.counts[expressing], group.genes._replace(columns=columns))
                    done(len(group.cells))
                    values = self.model.cells(left, group.genes.vectors)
                    yield Deleted(name, cells[expressing], cells[expressing], values)

    def attribute(self, inputs: Inputs, direction: np.ndarray, n_steps: int) -> Iterator[Attributed]:
        """Attribute by integrated gradients, whose integral has a closed form.

        The path leads from the mean weights of all cells with counts to the weights of the cell.
        """
        (genes,) = (self._select(k, g) for k, g in enumerate(inputs.genes))
        average = np.zeros(len(genes.rows))
        n = 0
        for _, groups in self.prepare(inputs, BLOCK_ROWS):
            for group in groups:
                average += np.asarray(group.weights.sum(axis=0)).ravel()
                n += int((np.diff(group.weights.indptr) > 0).sum())
        if n == 0:
            raise ValueError("No cell has a count in any gene of the model.")
        average /= n
        order = np.argsort(genes.rows)
        order = order[average[order] > 0]
        vectors = genes.vectors.astype(np.float64)
        start = average @ vectors - self.model.center
        for rows, groups in self.prepare(inputs, BLOCK_ROWS):
            for group in groups:
                step = group.weights.toarray() - average
                gradient = mean_gradient(start, step @ vectors, direction)
                values = step[:, order] * (gradient @ vectors[order].T)
                end = start + step @ vectors
                output, baseline = (z @ direction / np.linalg.norm(z, axis=-1) for z in (end, start))
                missing = np.diff(group.weights.indptr) == 0
                values[missing] = np.nan
                yield Attributed(
                    rows.start + group.cells, genes.rows[order], values, np.where(missing, np.nan, output),
                    np.where(missing, np.nan, baseline),
                )  # fmt: skip

    def _select(self, k: int, genes: Genes) -> Selected:
        """The genes of a matrix with their vectors, each computed once."""
        rows, first = np.unique(genes.rows, return_index=True)
        rows, first = rows[rows >= 0], first[rows >= 0]
        new = rows[~self._known[k][rows]]
        self._vectors[k][new] = self.model.vectors(self.tables[k], new)
        self._known[k][new] = True
        rows = rows[np.argsort(first)]  # as the variables are sorted in a block, so are then the genes
        place = np.full(self.tables[k].n_obs + 1, -1)
        place[rows] = np.arange(len(rows))
        return Selected(rows, place[genes.rows], self._vectors[k][rows])

    def _weigh(self, counts: sparse.csr_matrix, genes: Selected) -> sparse.csr_matrix:
        return gene_weights(counts, genes.columns, len(genes.rows), self.model.config.scale)


def mean_gradient(start: np.ndarray, step: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Gradient of the cosine of ``z`` with a unit vector, averaged on the way from ``start`` to ``start + step``.

    With ``Q(t) = |start + t step|^2`` the integrals of ``t^n / Q^1.5`` and ``1 / Q^0.5`` over 0 to 1 are elementary.
    ``start`` and ``direction`` are ``[dim]``, ``step`` and the result (in float64) ``[n_cells, dim]``.
    """
    a = start @ start
    b, c = step @ start, np.maximum(np.square(step).sum(axis=1), _TINY)
    apart = np.maximum(a * c - b**2, _TINY * a * c)  # 0 if the way leads through the origin
    first, last = np.sqrt(a), np.sqrt(np.maximum(a + 2 * b + c, _TINY))
    n0 = ((c + b) / last - b / first) / apart
    n1 = (a / first - (a + b) / last) / apart
    inverse = (np.arcsinh((c + b) / np.sqrt(apart)) - np.arcsinh(b / np.sqrt(apart))) / np.sqrt(c)
    n2 = (inverse - a * n0 - 2 * b * n1) / c
    along, across = start @ direction, step @ direction
    of_start = along * n0 + across * n1
    of_step = along * n1 + across * n2
    return inverse[:, None] * direction - of_start[:, None] * start - of_step[:, None] * step

"""A sample of cells of several data sets, with the keys of their genes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import anndata as ad
import numpy as np
from scipy import sparse

from univerce._validate import check_counts
from univerce.genes.table import gene_table_info
from univerce.io.blocks import iter_blocks
from univerce.model.linear import gene_keys, gene_weights, token_features
from univerce.training.axes import nearest_cells
from univerce.training.training_set import TrainingSet

_LOG_NORM = 1e4


@dataclass(frozen=True, eq=False)
class MeasuredCells:
    """Cells of one data set."""

    name: str
    table: ad.AnnData
    rows: np.ndarray
    """``[n_genes]`` rows of the gene table of the measured genes, increasing."""
    keys: np.ndarray
    """``[n_genes]`` key of each."""
    counts: sparse.csr_matrix
    """``[n_cells, n_genes]``; every cell has counts."""
    scale: float
    """``LinearConfig.scale``."""

    @classmethod
    def sample(
        cls, s: TrainingSet, known: frozenset[str], n_cells: int, scale: float, rng: np.random.Generator
    ) -> Self:
        """Read at most ``n_cells`` random cells; ``ValueError`` if none of them has counts, or not all are counts."""
        X = s.open()
        chosen = np.sort(rng.permutation(X.shape[0])[:n_cells])
        counts = sparse.csr_matrix(X[chosen]) if sparse.issparse(X) else _read(X, chosen)
        check_counts(counts, where=f"The data set {s.name!r}")
        rows, gene = np.unique(s.rows, return_inverse=True)
        n_unmapped = int(rows[0] < 0)
        var = np.flatnonzero(s.rows >= 0)
        shape = (len(s.rows), len(rows) - n_unmapped)
        to_gene = sparse.csr_matrix((np.ones(len(var), np.float32), (var, gene[var] - n_unmapped)), shape)
        counts = sparse.csr_matrix(counts @ to_gene)
        counts.eliminate_zeros()
        counts = counts[np.diff(counts.indptr) > 0]
        if not counts.shape[0]:
            raise ValueError(f"The data set {s.name!r} has no cell with a count in any gene.")
        rows = rows[n_unmapped:]
        keys = np.array(gene_keys(s.table[rows], known), dtype=object)
        return cls(s.name, s.table, rows, keys, counts, scale)

    @property
    def species(self) -> str:
        """Species of the cells."""
        return str(gene_table_info(self.table)["species"])

    @cached_property
    def weights(self) -> sparse.csr_matrix:
        """``[n_cells, n_genes]`` weights log(1 + scale * share)."""
        n = self.counts.shape[1]
        return gene_weights(self.counts, np.arange(n), n, self.scale)

    @cached_property
    def neighbors(self) -> np.ndarray:
        """``[n_cells, n_neighbors]`` nearest other cells by log-normalized expression."""
        n = self.counts.shape[1]
        return nearest_cells(gene_weights(self.counts, np.arange(n), n, _LOG_NORM))

    @property
    def features(self) -> np.ndarray:
        """``[n_genes, token_dim]`` features of unit length; not kept, they are large."""
        return token_features(self.table[self.rows], list(self.keys))

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """``[n_genes]`` share of the cells that express each gene, and variance of its weight."""
        n = self.weights.shape[0]
        expressed = np.bincount(self.weights.indices, minlength=len(self.rows)) / n
        mean = np.asarray(self.weights.mean(axis=0), dtype=np.float64).ravel()
        square = np.asarray(self.weights.multiply(self.weights).mean(axis=0), dtype=np.float64).ravel()
        return expressed, np.maximum(square - mean**2, 0)


def _read(X: object, chosen: np.ndarray) -> sparse.csr_matrix:
    return sparse.vstack([block for _, block in iter_blocks(X, 1, blocks=chosen)], format="csr")


@dataclass(frozen=True, eq=False)
class GeneStatistics:
    """What data sets say about the genes of each key."""

    keys: tuple[str, ...]
    """Sorted."""
    n_sets: np.ndarray
    """``[n_keys]`` number of data sets that measure it."""
    rarity: np.ndarray
    """``[n_keys]`` float32; 1 on average over the measured keys, the largest for those that are not measured."""
    landmark_score: np.ndarray
    """``[n_keys]``: how much the weight of a gene varies within data sets, times the square of its rarity."""

    @classmethod
    def of(cls, cells: Sequence[MeasuredCells], known: frozenset[str]) -> Self:
        """Average over data sets; of several genes of one key in a data set the first counts."""
        keys = tuple(sorted(known.union(*(set(c.keys) for c in cells))))
        index = {key: i for i, key in enumerate(keys)}
        n_sets, expressed, variance = (np.zeros(len(keys)) for _ in range(3))
        for c in cells:
            places, first = np.unique([index[key] for key in c.keys], return_index=True)
            share, var = c.moments
            n_sets[places] += 1
            expressed[places] += share[first]
            variance[places] += var[first]
        measured = n_sets > 0
        frequency = np.divide(expressed, n_sets, out=np.zeros(len(keys)), where=measured)
        rarity = np.sqrt(np.log(1 / np.clip(frequency, 1e-3, 1)))
        rarity /= rarity[measured].mean()
        rarity[~measured] = rarity.max()
        score = variance / np.maximum(n_sets, 4) * rarity**2
        return cls(keys, n_sets.astype(int), rarity.astype(np.float32), score)

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each key."""
        return {key: i for i, key in enumerate(self.keys)}

    def landmarks(self, n: int, least_sets: int) -> np.ndarray:
        """Positions of the ``n`` keys with the highest score among those that ``least_sets`` data sets measure."""
        often = np.flatnonzero((self.n_sets >= least_sets) & (self.landmark_score > 0))
        return often[np.argsort(-self.landmark_score[often], kind="stable")[:n]]


def bags(cells: MeasuredCells, statistics: GeneStatistics, landmarks: np.ndarray, weight: float) -> np.ndarray:
    """Sum the genes of each cell: features, then one coordinate for each landmark, ``[n_cells, dim]`` float32."""
    places = np.array([statistics.index[key] for key in cells.keys])
    weighted = sparse.csr_matrix(cells.weights.multiply(statistics.rarity[places]), dtype=np.float32)
    used = np.flatnonzero(np.bincount(weighted.indices, minlength=len(places)))
    text = weighted[:, used].toarray() @ cells.features[used]
    column = np.full(len(statistics.keys), -1)
    column[landmarks] = np.arange(len(landmarks))
    mine = np.flatnonzero(column[places] >= 0)
    to_landmark = sparse.csr_matrix(
        (np.full(len(mine), weight, np.float32), (mine, column[places[mine]])), (len(places), len(landmarks))
    )
    return np.hstack([text, (weighted @ to_landmark).toarray()])


def named_genes(tables: Iterator[ad.AnnData]) -> frozenset[str]:
    """Symbols of gene tables in upper case, or identifiers where there is none."""
    return frozenset(key for table in tables for key in gene_keys(table, frozenset()))

"""Training batches: masked sentences and query genes (Rosen et al., Methods, "Training objective")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numba
import numpy as np
from scipy import sparse

from univerce._validate import check_counts
from univerce.genes.table import N_SPECIAL, chromosome_index
from univerce.model.tokens import (
    GenomeOrder,
    accumulate_log,
    below,
    gather,
    max_groups,
    max_sentence_length,
    sample_sentence,
)


@dataclass(frozen=True)
class TrainingSet:
    """Raw counts of one data set with the gene table of its species.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> import univerce as uc
    >>> counts = sparse.csr_matrix(np.ones((4, 3), dtype=np.float32))
    >>> rows = np.array([5, -1, 9], dtype=np.int32)
    >>> uc.model.TrainingSet("example", counts, rows, uc.genes.load_table("human")).counts.shape
    (4, 3)
    """

    name: str
    """Name in the log."""
    counts: sparse.csr_matrix
    """``[n_cells, n_vars]`` raw counts."""
    rows: np.ndarray
    """``[n_vars]`` int32 row of the table of each variable, -1 when it maps to no gene."""
    table: ad.AnnData
    """Gene table; sets of one species share one object."""


@dataclass(frozen=True)
class Batch:
    """Cells to train on; token ids count through the vocabulary of the corpus."""

    ids: np.ndarray
    """``[cells, length]`` int32 sentences of the genes that were not masked."""
    lengths: np.ndarray
    """``[cells]`` int32."""
    queries: np.ndarray
    """``[cells, n_queries]`` int32 token ids: masked expressed genes, then genes without a count."""
    offsets: np.ndarray
    """``[cells, n_queries]`` float32 log-odds of each query from the gene's frequency in its data set alone."""
    bag: sparse.csr_matrix
    """``[cells, n_tokens]`` float32 log(x + 1) of the genes that were not masked."""


class Corpus:
    """Data sets of several species under one vocabulary, with the training cells of each.

    Parameters
    ----------
    sets
        The data sets; cells with fewer than two expressed genes, or with a count in every measured gene, are left out:
        nothing can be asked about them.
    n_queries
        Query genes per cell, half of them expressed.
    mask_fraction
        Share of the expressed genes that is masked.
    n_sample, systematic, max_length
        How sentences are drawn.
    held_out
        Share of every data set's cells that is kept for validation, the same cells for the same ``seed``.
    seed
        Seed of the split.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        *,
        n_queries: int,
        mask_fraction: float,
        n_sample: int,
        systematic: bool,
        max_length: int,
        held_out: float = 0.05,
        seed: int = 0,
    ) -> None:
        if not sets:
            raise ValueError("There is no data set to train on.")
        if n_queries % 2 or n_queries < 2:
            raise ValueError(f"n_queries={n_queries} must be even: half of the queries are expressed genes.")
        if not 0 < mask_fraction < 1:
            raise ValueError(f"mask_fraction={mask_fraction} must lie between 0 and 1.")
        if not 0 <= held_out < 1:
            raise ValueError(f"held_out={held_out} must be at least 0 and below 1.")
        self.max_groups = max_groups(n_sample, max_length)
        self.n_queries, self.mask_fraction = n_queries, mask_fraction
        self.n_sample, self.systematic, self.max_length = n_sample, systematic, max_length
        tables: list[ad.AnnData] = []
        for s in sets:
            if not any(s.table is t for t in tables):
                tables.append(s.table)
        bases = np.cumsum([0] + [N_SPECIAL + t.n_obs + len(t.uns["chromosome_codes"]) for t in tables])
        self.features = np.concatenate([_vocabulary(t) for t in tables])
        """``[n_tokens, token_dim]`` features of the whole vocabulary; each species brings its special tokens."""
        orders = [GenomeOrder.build(chromosome_index(t), t.obs["start"].to_numpy()) for t in tables]
        self.names = [s.name for s in sets]
        self._parts = []
        for i, s in enumerate(sets):
            k = next(k for k, t in enumerate(tables) if t is s.table)
            self._parts.append(_Part.build(s, orders[k], int(bases[k]), np.random.default_rng([seed, i]), held_out))

    def sizes(self, *, validation: bool = False) -> np.ndarray:
        """Number of training (or validation) cells of every data set."""
        return np.array([len(p.validation if validation else p.training) for p in self._parts])

    def token_frequency(self) -> np.ndarray:
        """Share of all training cells that express each token of the vocabulary, averaged over the data sets."""
        total = np.zeros(len(self.features))
        seen = np.zeros(len(self.features))
        for part in self._parts:
            token = part.base + part.order.gene_token[part.measured]
            total[token] += part.frequency[part.measured]
            seen[token] += 1
        return np.divide(total, seen, out=total, where=seen > 0)

    def sample(self, n_cells: int, rng: np.random.Generator, *, temperature: float = 0.7) -> Batch:
        """Training cells; a data set is picked with probability proportional to its size to the ``temperature``."""
        p = self.sizes().astype(float) ** temperature
        picked = np.sort(rng.choice(len(p), size=n_cells, p=p / p.sum()))
        chosen = [(k, rng.choice(self._parts[k].training, size=int((picked == k).sum()))) for k in np.unique(picked)]
        return self._batch(chosen, rng)

    def validation(self, part: int, rng: np.random.Generator, *, n_cells: int) -> Batch:
        """Held-out cells of one data set."""
        cells = self._parts[part].validation
        return self._batch([(part, rng.permutation(cells)[:n_cells])], rng)

    def _batch(self, chosen: list[tuple[int, np.ndarray]], rng: np.random.Generator) -> Batch:
        parts = []
        for k, cells in chosen:
            part = self._parts[k]
            parts.append(part.draw(cells, rng.integers(2**64, size=len(cells), dtype=np.uint64), self))
        width = max(ids.shape[1] for ids, *_ in parts)
        ids = np.concatenate([np.pad(ids, ((0, 0), (0, width - ids.shape[1]))) for ids, *_ in parts])
        _, lengths, queries, offsets, bags = zip(*parts, strict=True)
        length = np.concatenate(lengths)
        return Batch(
            ids=ids[:, : length.max()],
            lengths=length,
            queries=np.concatenate(queries),
            offsets=np.concatenate(offsets),
            bag=sparse.vstack(bags, format="csr"),
        )


@dataclass(frozen=True)
class _Part:
    counts: sparse.csr_matrix
    var_rank: np.ndarray
    order: GenomeOrder
    base: int
    measured: np.ndarray  # ranks that the data set measures
    frequency: np.ndarray  # by rank: share of training cells with a count
    offset: np.ndarray  # by rank: log-odds against the mean gene
    training: np.ndarray
    validation: np.ndarray

    @classmethod
    def build(cls, s: TrainingSet, order: GenomeOrder, base: int, rng: np.random.Generator, held_out: float) -> _Part:
        if s.counts.format != "csr" or s.counts.shape[1] != len(s.rows):
            raise ValueError(
                f"The data set {s.name!r} needs counts in CSR with a column for each of its {len(s.rows)} rows; "
                f"they are in {s.counts.format.upper()} with {s.counts.shape[1]} columns."
            )
        check_counts(s.counts, where=f"the data set {s.name!r}")
        var_rank = order.var_rank(s.rows)
        to_rank = sparse.csr_matrix(
            (np.ones((var_rank >= 0).sum()), (np.flatnonzero(var_rank >= 0), var_rank[var_rank >= 0])),
            shape=(len(var_rank), len(order.rank)),
        )
        expressed = sparse.csr_matrix(s.counts @ to_rank)
        expressed.eliminate_zeros()
        n_expressed = np.diff(expressed.indptr)
        measured = np.unique(var_rank[var_rank >= 0])
        cells = rng.permutation(np.flatnonzero((n_expressed >= 2) & (n_expressed < len(measured))))
        if not len(cells):
            raise ValueError(
                f"The data set {s.name!r} has no cell to train on: one with counts in two genes and not in all."
            )
        n_validation = min(round(held_out * len(cells)), len(cells) - 1)
        training, validation = np.sort(cells[n_validation:]), np.sort(cells[:n_validation])
        frequency = np.bincount(expressed[training].indices, minlength=len(order.rank)) / len(training)
        smooth = np.clip(frequency, 0.5 / len(training), 1 - 0.5 / len(training))
        mean = smooth[measured].mean()
        offset = np.log(smooth / (1 - smooth)) - np.log(mean / (1 - mean))
        offset = offset.astype(np.float32)
        return cls(s.counts, var_rank, order, base, measured, frequency, offset, training, validation)

    def draw(self, cells: np.ndarray, keys: np.ndarray, corpus: Corpus) -> tuple[Any, ...]:
        width = max_sentence_length(corpus.n_sample, len(self.order.chromosome_token), corpus.max_length)
        ids = np.zeros((len(cells), width), dtype=np.int32)
        lengths = np.zeros(len(cells), dtype=np.int32)
        queries = np.zeros((len(cells), corpus.n_queries), dtype=np.int32)
        places = np.concatenate([[0], np.cumsum(np.diff(self.counts.indptr)[cells])])
        kept = np.zeros(len(cells), dtype=np.int64)
        bag_ranks = np.zeros(places[-1], dtype=np.int32)
        bag_weights = np.zeros(places[-1], dtype=np.float32)
        _masked_sentences(
            cells, keys, self.counts.indptr, self.counts.indices, self.counts.data, self.var_rank, self.measured,
            self.order.gene_token, self.order.chromosome, self.order.chromosome_token, corpus.mask_fraction,
            corpus.n_sample, corpus.systematic, corpus.max_groups, ids, lengths, queries,
            places, kept, bag_ranks, bag_weights,
        )  # fmt: skip
        used = np.arange(places[-1]) - np.repeat(places[:-1], np.diff(places)) < np.repeat(kept, np.diff(places))
        tokens = self.order.gene_token[bag_ranks[used]] + self.base
        bag = (bag_weights[used], tokens, np.concatenate([[0], np.cumsum(kept)]))
        is_token = np.arange(width) < lengths[:, None]
        return (
            np.where(is_token, ids + self.base, 0),
            lengths,
            self.order.gene_token[queries] + self.base,
            self.offset[queries],
            sparse.csr_matrix(bag, shape=(len(cells), len(corpus.features))),
        )


def _vocabulary(table: ad.AnnData) -> np.ndarray:
    parts = (table.uns["special_features"], table.X[:], table.uns["chromosome_features"])
    return np.concatenate([np.asarray(p, dtype=np.float32) for p in parts])


@numba.njit(nogil=True, cache=True)
def _masked_sentences(  # type: ignore[no-untyped-def]
    cells, keys, indptr, indices, data, var_rank, measured, gene_token, chromosome, chromosome_token,
    mask_fraction, n_sample, systematic, max_chromosomes, ids, lengths, queries,
    places, bag_sizes, bag_ranks, bag_weights,
):  # fmt: skip
    """Mask before sampling, so that no copy of a masked gene is in the sentence; queries are ranks."""
    n_genes = len(gene_token)
    total = np.zeros(n_genes)
    seen = np.zeros((n_genes + 63) // 64, dtype=np.uint64)
    ranks = np.empty(n_genes, dtype=np.int32)
    counts = np.empty(n_genes)
    shuffled = np.empty(n_genes, dtype=np.int32)
    silent = np.empty(len(measured), dtype=np.int32)
    state_of = np.zeros(n_genes, dtype=np.uint8)  # 1 expressed, 2 expressed and masked
    points = np.empty(n_sample)
    drawn = np.empty(n_sample, dtype=np.int32)
    starts = np.empty(max_chromosomes + 1, dtype=np.int64)
    order = np.empty(max_chromosomes, dtype=np.int64)
    state = np.empty(1, dtype=np.uint64)
    half = queries.shape[1] // 2
    for i in range(len(cells)):
        state[0] = keys[i]
        n = gather(indptr[cells[i]], indptr[cells[i] + 1], indices, data, var_rank, total, seen, ranks, counts)
        n_masked = min(max(int(np.round(mask_fraction * n)), 1), n - 1)
        for j in range(n):
            shuffled[j] = ranks[j]
            state_of[ranks[j]] = 1
        for j in range(n_masked):
            other = j + below(state, n - j)
            shuffled[j], shuffled[other] = shuffled[other], shuffled[j]
            state_of[shuffled[j]] = 2
        for q in range(half):  # the masked genes are in random order already
            queries[i, q] = shuffled[q] if half <= n_masked else shuffled[below(state, n_masked)]
        n_silent = 0
        for rank in measured:
            if state_of[rank] == 0:
                silent[n_silent] = rank
                n_silent += 1
        for q in range(half):
            other = q + below(state, n_silent - q) if half <= n_silent else below(state, n_silent)
            queries[i, half + q] = silent[other]
            if half <= n_silent:
                silent[q], silent[other] = silent[other], silent[q]
        kept = 0
        for j in range(n):
            if state_of[ranks[j]] != 2:
                ranks[kept], counts[kept] = ranks[j], counts[j]
                kept += 1
        for j in range(n):
            state_of[shuffled[j]] = 0
        bag_sizes[i] = kept
        for j in range(kept):
            bag_ranks[places[i] + j] = ranks[j]
            bag_weights[places[i] + j] = np.log1p(counts[j])
        accumulate_log(counts, kept)
        lengths[i], _ = sample_sentence(
            ranks, counts, kept, gene_token, chromosome, chromosome_token, state, n_sample, systematic,
            max_chromosomes, points, drawn, starts, order, ids[i],
        )  # fmt: skip

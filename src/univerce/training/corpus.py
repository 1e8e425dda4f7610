"""Training batches: masked sentences and query genes (Rosen et al., Methods, "Training objective")."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numba
import numpy as np
from scipy import sparse

from univerce.genes.table import CLS, N_SPECIAL, RIGHT, chromosome_index, gene_table_info
from univerce.inference.tokens import (
    GenomeOrder,
    accumulate_log,
    below,
    gather,
    max_groups,
    max_sentence_length,
    sample_sentence,
    uniform,
)
from univerce.training.survey import Survey, columns_added, survey
from univerce.training.window import InMemory, Rows, Window, open_counts

VIEW_SHARES = (0.15, 0.85)
"""Range of the share of a cell's counts that the first of its two views gets."""
VIEW_DROP = 0.3
"""Share of the genes that is left out of a view."""


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
    counts: Any
    """``[n_cells, n_vars]`` raw counts: a scipy sparse matrix or numpy array in memory, or what stays on disk and is
    read block by block: a backed matrix, a zarr, h5py or dask array; see :func:`univerce.pp.training_set`."""
    rows: np.ndarray
    """``[n_vars]`` int32 row of the table of each variable, -1 when it maps to no gene."""
    table: ad.AnnData
    """Gene table."""

    def __repr__(self) -> str:
        n_cells, n_vars = self.counts.shape
        species = self.table.uns["gene_table"]["species"]
        genes = int((self.rows >= 0).sum())
        return f"TrainingSet {self.name!r}: {n_cells:,} cells of {species}, {genes:,} of {n_vars:,} variables are genes"


@dataclass(frozen=True)
class Batch:
    """Cells to train on; token ids count through the vocabulary of the corpus."""

    sets: np.ndarray
    """``[cells]`` data set of each cell."""
    ids: np.ndarray
    """``[cells, length]`` int32 sentences of the genes that were not masked."""
    lengths: np.ndarray
    """``[cells]`` int32."""
    queries: np.ndarray
    """``[cells, n_queries]`` int32 token ids: masked expressed genes, then genes without a count."""
    offsets: np.ndarray
    """``[cells, n_queries]`` float32 log-odds of each query from the gene's frequency in its data set alone."""
    global_offsets: np.ndarray
    """The same from the gene's frequency in all data sets of the species."""
    bag: sparse.csr_matrix
    """``[cells, n_tokens]`` float32 counts of the genes that were not masked."""


@dataclass(frozen=True)
class Plan:
    """Which cells a batch holds and the key of each one's random stream: a batch follows from its plan."""

    sets: np.ndarray
    """``[cells]``, sorted."""
    cells: np.ndarray
    """``[cells]`` rows of their data sets."""
    keys: np.ndarray
    """``[cells]`` uint64."""

    def share(self, i: int, n: int) -> Plan:
        """The ``i``-th of ``n`` equal parts."""
        part = slice(i * len(self.cells) // n, (i + 1) * len(self.cells) // n)
        return Plan(self.sets[part], self.cells[part], self.keys[part])


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
    shuffled
        Put the genes of a sentence in random order: each place of a gene may get any of them.
    chromosome_tokens
        Keep the tokens that begin and end a chromosome.
    hard_negatives
        Draw the genes without a count in proportion to their frequency in the data set.
    held_out
        Share of every data set's cells that is kept for validation, the same cells for the same ``seed``.
    held_out_sets
        Names of data sets that are not trained on at all; half of their cells say how frequent their genes are, the
        others are validated on.
    temperature
        A data set is picked with probability proportional to its size to this power.
    cells_per_step, block_rows, buffer_cells
        How the windows over data on disk move, and how many cells they hold together.
    seed
        Seed of the split and of the order in which data on disk are read.
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
        shuffled: bool = False,
        chromosome_tokens: bool = True,
        hard_negatives: bool = False,
        held_out: float = 0.05,
        held_out_sets: Sequence[str] = (),
        temperature: float = 0.7,
        cells_per_step: int = 64,
        block_rows: int = 256,
        buffer_cells: int = 65536,
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
        self.shuffled, self.chromosome_tokens, self.hard_negatives = shuffled, chromosome_tokens, hard_negatives
        self.temperature = temperature
        self.names = _unique_names(sets)
        if unknown := [name for name in held_out_sets if name not in self.names]:
            raise ValueError(
                f"held_out_sets names {', '.join(unknown)}, but the data sets are {', '.join(self.names)}."
            )
        self.is_held_out = np.isin(self.names, list(held_out_sets))
        """``[n_sets]`` whether a data set is not trained on."""
        if self.is_held_out.all():
            raise ValueError("All data sets are held out; there is none to train on.")

        tables: dict[str, ad.AnnData] = {}
        for s in sets:
            tables.setdefault(str(gene_table_info(s.table)["digest"]), s.table)
        bases = np.cumsum([0] + [N_SPECIAL + t.n_obs + len(t.uns["chromosome_codes"]) for t in tables.values()])
        base = dict(zip(tables, bases.tolist(), strict=False))
        self.features = np.concatenate([_vocabulary(t) for t in tables.values()])
        """``[n_tokens, token_dim]`` features of the whole vocabulary; each species brings its special tokens."""
        self._gene_names = np.concatenate([_names(t, b) for t, b in zip(tables.values(), bases, strict=False)])
        orders = {d: GenomeOrder.build(chromosome_index(t), t.obs["start"].to_numpy()) for d, t in tables.items()}
        self._parts: list[_Part] = []
        for i, s in enumerate(sets):
            table = str(gene_table_info(s.table)["digest"])
            share = max(held_out, 0.5) if self.is_held_out[i] else held_out
            self._parts.append(_Part.build(s, orders[table], base[table], np.random.default_rng([seed, i]), share))
        self._description = [
            {
                "name": s.name, "shape": [int(n) for n in p.counts.shape], "counts": p.survey.total,
                "genes": hashlib.sha256(np.ascontiguousarray(p.var_rank, dtype=np.int32).tobytes()).hexdigest(),
                "table": str(gene_table_info(s.table)["digest"]), "held_out": bool(held_out),
            }
            for s, p, held_out in zip(sets, self._parts, self.is_held_out, strict=True)
        ]  # fmt: skip
        frequency, known = self._token_frequency()
        n_cells = int(self.sizes().sum())
        self._global_offsets = [part.global_offset(frequency, known, n_cells) for part in self._parts]
        p = self._probabilities(temperature)
        on_disk = [k for k, part in enumerate(self._parts) if not sparse.issparse(part.counts)]
        if len(on_disk) * block_rows > buffer_cells:
            raise ValueError(
                f"buffer_cells={buffer_cells} cannot hold a block of block_rows={block_rows} cells of each of the "
                f"{len(on_disk)} data sets on disk; raise the one or lower the other."
            )
        self._rows: list[Rows] = [
            Window(
                part.counts, part.training, block_rows=block_rows, cells_per_step=cells_per_step * p[k],
                n_blocks=max(1, int(buffer_cells * p[k] / block_rows)), seed=[seed, k],
            )
            if k in on_disk else InMemory(part.counts, part.training)
            for k, part in enumerate(self._parts)
        ]  # fmt: skip

    def describe(self) -> list[dict[str, Any]]:
        """What tells these data from others: names, shapes, sums of the counts, genes and gene tables."""
        return self._description

    def sizes(self, *, validation: bool = False) -> np.ndarray:
        """Number of validation cells of every data set, or of cells that are trained on."""
        if validation:
            return np.array([len(p.validation) for p in self._parts])
        return np.array([0 if out else len(p.training) for p, out in zip(self._parts, self.is_held_out, strict=True)])

    def token_frequency(self) -> np.ndarray:
        """Share of the training cells that express a gene of each token's name.

        It is averaged over the data sets of a species, then over the species that have a gene of the name; 0 for a name
        that no data set measures.
        """
        frequency, seen = self._token_frequency()
        _, name = np.unique(self._gene_names, return_inverse=True)
        total, count = np.bincount(name, frequency * seen), np.bincount(name, seen)
        return np.divide(total, count, out=np.zeros_like(total), where=count > 0)[name]

    def _token_frequency(self) -> tuple[np.ndarray, np.ndarray]:
        """The frequency, and which tokens a data set that is trained on measures."""
        total = np.zeros(len(self.features))
        seen = np.zeros(len(self.features))
        for part, held_out in zip(self._parts, self.is_held_out, strict=True):
            if not held_out:
                token = part.base + part.order.gene_token[part.measured]
                total[token] += part.frequency[part.measured]
                seen[token] += 1
        return np.divide(total, seen, out=total, where=seen > 0), seen > 0

    def plan(
        self,
        n_cells: int,
        rng: np.random.Generator,
        *,
        temperature: float | None = None,
        step: int | None = None,
        sets_per_step: int = 0,
    ) -> Plan:
        """Choose training cells.

        Parameters
        ----------
        n_cells
            Number of cells.
        rng
            Decides.
        temperature
            By default that of the corpus.
        step
            Where the windows over data on disk are; None takes what is always in memory, a few cells of each.
        sets_per_step
            Number of data sets that share the cells evenly; 0 lets every cell draw its own.
        """
        p = self._probabilities(self.temperature if temperature is None else temperature)
        if sets_per_step:
            picked = np.sort(np.repeat(rng.choice(len(p), size=sets_per_step, p=p), n_cells // sets_per_step))
        else:
            picked = np.sort(rng.choice(len(p), size=n_cells, p=p))
        cells = [rng.choice(self._rows[k].at(step), size=int((picked == k).sum())) for k in np.unique(picked)]
        return Plan(picked, np.concatenate(cells), rng.integers(2**64, size=len(picked), dtype=np.uint64))

    def draw(self, plan: Plan, *, hard_negatives: bool | None = None) -> Batch:
        """Mask, sample and query the cells of a plan."""
        hard = self.hard_negatives if hard_negatives is None else hard_negatives
        return self._batch(plan, [self._rows[k].take(cells) for k, cells in _by_set(plan)], hard_negatives=hard)

    def views(self, plan: Plan) -> tuple[Batch, Batch]:
        """Two views of every cell that share no count: its counts are split at random, in unequal halves.

        Of the genes of each view 30 % are masked. The sentence of a view in which nothing is left is the CLS token.
        """
        halves: tuple[list[sparse.csr_matrix], list[sparse.csr_matrix]] = ([], [])
        place = 0
        for k, cells in _by_set(plan):
            counts = self._rows[k].take(cells)
            for half, split in zip(halves, _split(counts, plan.keys[place : place + len(cells)]), strict=True):
                half.append(split)
            place += len(cells)
        plans = (Plan(plan.sets, plan.cells, plan.keys + np.uint64(i)) for i in (1, 2))
        one, other = (
            self._batch(p, half, mask_fraction=VIEW_DROP, n_queries=0) for p, half in zip(plans, halves, strict=True)
        )
        return one, other

    def sample(
        self, n_cells: int, rng: np.random.Generator, *, temperature: float | None = None, step: int | None = None
    ) -> Batch:
        """Training cells, see :meth:`plan`."""
        return self.draw(self.plan(n_cells, rng, temperature=temperature, step=step))

    def whole_cells(self, n_cells: int, rng: np.random.Generator) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Training cells with all their genes, none twice.

        Parameters
        ----------
        n_cells
            Number of cells, at most; every data set has the same share. Of data on disk only those count that are
            always in memory.
        rng
            Chooses them.

        Returns
        -------
        Counts, a column for every token, and the data set of each cell.
        """
        blocks, sets = [], []
        trained = np.flatnonzero(~self.is_held_out)
        for k in trained.tolist():
            part, rows = self._parts[k], self._rows[k].at(None)
            cells = np.sort(rng.choice(rows, size=min(max(2, n_cells // len(trained)), len(rows)), replace=False))
            token = np.where(part.var_rank >= 0, part.order.gene_token[part.var_rank] + part.base, -1)
            blocks.append(self._rows[k].take(cells) @ columns_added(token, len(self.features)))
            sets.append(np.full(len(cells), k))
        return sparse.vstack(blocks, format="csr"), np.concatenate(sets)

    def validation(self, part: int, rng: np.random.Generator, *, n_cells: int) -> Batch:
        """Held-out cells of one data set; the genes without a count are always drawn evenly, as in the paper."""
        cells = rng.permutation(self._parts[part].validation)[:n_cells]
        keys = rng.integers(2**64, size=len(cells), dtype=np.uint64)
        return self.draw(Plan(np.full(len(cells), part), cells, keys), hard_negatives=False)

    def _probabilities(self, temperature: float) -> np.ndarray:
        """Of every data set to be picked."""
        p = np.where(self.is_held_out, 0.0, np.maximum(self.sizes(), 1).astype(float) ** temperature)
        return p / p.sum()

    def _batch(
        self,
        plan: Plan,
        counts: list[sparse.csr_matrix],
        *,
        mask_fraction: float | None = None,
        n_queries: int | None = None,
        hard_negatives: bool = False,
    ) -> Batch:
        mask_fraction = self.mask_fraction if mask_fraction is None else mask_fraction
        n_queries = self.n_queries if n_queries is None else n_queries
        parts = []
        place = 0
        for (k, cells), block in zip(_by_set(plan), counts, strict=True):
            keys = plan.keys[place : place + len(cells)]
            part = self._parts[k]
            ids, length, queries, bag = part.draw(block, keys, self, mask_fraction, n_queries, hard_negatives)
            offset = part.hard_offset if hard_negatives else part.offset
            tokens = part.order.gene_token[queries] + part.base
            parts.append((ids, length, tokens, offset[queries], self._global_offsets[k][queries], bag))
            place += len(cells)
        width = max(ids.shape[1] for ids, *_ in parts)
        ids = np.concatenate([np.pad(ids, ((0, 0), (0, width - ids.shape[1]))) for ids, *_ in parts])
        lengths, queries, offsets, global_offsets = (
            np.concatenate(x) for x in zip(*(part[1:-1] for part in parts), strict=True)
        )
        return Batch(
            sets=plan.sets,
            ids=ids[:, : lengths.max()],
            lengths=lengths,
            queries=queries,
            offsets=offsets,
            global_offsets=global_offsets,
            bag=sparse.vstack([part[-1] for part in parts], format="csr"),
        )


@dataclass(frozen=True)
class _Part:
    counts: Any  # a csr_matrix when in memory
    survey: Survey
    var_rank: np.ndarray
    order: GenomeOrder
    base: int
    offset: np.ndarray  # by rank: log-odds against the mean gene
    hard_offset: np.ndarray  # by rank: log-odds when the genes without a count are drawn by frequency

    @property
    def training(self) -> np.ndarray:
        return self.survey.training

    @property
    def validation(self) -> np.ndarray:
        return self.survey.validation

    @property
    def measured(self) -> np.ndarray:
        return self.survey.measured

    @property
    def frequency(self) -> np.ndarray:
        return self.survey.frequency

    @classmethod
    def build(cls, s: TrainingSet, order: GenomeOrder, base: int, rng: np.random.Generator, held_out: float) -> _Part:
        where = f"The data set {s.name!r}"
        counts = open_counts(s.counts)
        if counts.shape[1] != len(s.rows):
            raise ValueError(f"{where} has {counts.shape[1]} columns and rows of the table for {len(s.rows)} of them.")
        var_rank = order.var_rank(s.rows)
        found = survey(counts, var_rank, len(order.rank), held_out=held_out, rng=rng, where=where)
        p, measured = found.smooth, found.measured
        mean, mean_hard = p[measured].mean(), (p * (1 - p))[measured].mean()
        offset = np.log(p / (1 - p)) - np.log(mean / (1 - mean))
        # The expressed are asked in proportion to p, the others to p (1 - p).
        hard_offset = -np.log(1 - p) + np.log(mean_hard / mean)
        return cls(
            counts, found, var_rank, order, base, offset.astype(np.float32), hard_offset.astype(np.float32)
        )  # fmt: skip

    def global_offset(self, token_frequency: np.ndarray, known: np.ndarray, n_cells: int) -> np.ndarray:
        """By rank: log-odds against the mean gene by the frequency in all data sets; 0 where that is not known."""
        token = self.order.gene_token + self.base
        p = np.clip(token_frequency[token], 0.5 / n_cells, 1 - 0.5 / n_cells)
        here = np.zeros(len(p), dtype=bool)
        here[self.measured] = known[token[self.measured]]
        if not here.any():
            return np.zeros(len(p), dtype=np.float32)
        mean = p[here].mean()
        return np.where(here, np.log(p / (1 - p)) - np.log(mean / (1 - mean)), 0).astype(np.float32)

    def draw(
        self,
        counts: sparse.csr_matrix,
        keys: np.ndarray,
        corpus: Corpus,
        mask_fraction: float,
        n_queries: int,
        hard_negatives: bool,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, sparse.csr_matrix]:
        n_cells = counts.shape[0]
        width = max_sentence_length(corpus.n_sample, len(self.order.chromosome_token), corpus.max_length)
        ids = np.zeros((n_cells, width), dtype=np.int32)
        lengths = np.zeros(n_cells, dtype=np.int32)
        queries = np.zeros((n_cells, n_queries), dtype=np.int32)
        places = counts.indptr.astype(np.int64)
        kept = np.zeros(n_cells, dtype=np.int64)
        bag_ranks = np.zeros(places[-1], dtype=np.int32)
        bag_counts = np.zeros(places[-1], dtype=np.float32)
        _masked_sentences(
            keys, places, counts.indices, counts.data, self.var_rank, self.measured, self.survey.smooth,
            self.order.gene_token, self.order.chromosome, self.order.chromosome_token, mask_fraction,
            corpus.n_sample, corpus.systematic, corpus.max_groups, hard_negatives, corpus.shuffled,
            corpus.chromosome_tokens, ids, lengths, queries, kept, bag_ranks, bag_counts,
        )  # fmt: skip
        used = np.arange(places[-1]) - np.repeat(places[:-1], np.diff(places)) < np.repeat(kept, np.diff(places))
        tokens = self.order.gene_token[bag_ranks[used]] + self.base
        bag = (bag_counts[used], tokens, np.concatenate([[0], np.cumsum(kept)]))
        is_token = np.arange(width) < lengths[:, None]
        return (
            np.where(is_token, ids + self.base, 0),
            lengths,
            queries,
            sparse.csr_matrix(bag, shape=(n_cells, len(corpus.features))),
        )


def _names(table: ad.AnnData, base: int) -> np.ndarray:
    """The symbol of each token, or its identifier, without case; other tokens have names of their own."""
    symbol = table.obs["symbol"].astype(str)
    names = symbol.where(symbol != "", table.obs["ensembl_id"].astype(str)).str.upper().to_numpy(dtype=str)
    own = [f"token {base + k}" for k in range(N_SPECIAL + len(table.uns["chromosome_codes"]))]
    return np.concatenate([own[:N_SPECIAL], names, own[N_SPECIAL:]])


def _unique_names(sets: Sequence[TrainingSet]) -> list[str]:
    names = [s.name for s in sets]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Two data sets are named {', '.join(repeated)}; give each a name of its own.")
    return names


def _by_set(plan: Plan) -> list[tuple[int, np.ndarray]]:
    """The cells of every data set of a plan."""
    sets, first = np.unique(plan.sets, return_index=True)
    return list(zip(sets.tolist(), np.split(plan.cells, first[1:]), strict=True))


def _split(counts: sparse.csr_matrix, keys: np.ndarray) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Give each single count to one of two matrices, with a share drawn for each cell."""
    one = np.zeros(len(counts.data), dtype=np.float32)
    for i, key in enumerate(keys):
        cell = slice(counts.indptr[i], counts.indptr[i + 1])
        rng = np.random.default_rng(int(key))
        one[cell] = rng.binomial(counts.data[cell].astype(np.int64), rng.uniform(*VIEW_SHARES))
    other = counts.data.astype(np.float32) - one
    first, second = (sparse.csr_matrix((x, counts.indices, counts.indptr), shape=counts.shape) for x in (one, other))
    return first, second


def _vocabulary(table: ad.AnnData) -> np.ndarray:
    parts = (table.uns["special_features"], table.X[:], table.uns["chromosome_features"])
    return np.concatenate([np.asarray(p, dtype=np.float32) for p in parts])


@numba.njit(nogil=True, cache=True)
def _masked_sentences(  # type: ignore[no-untyped-def]
    keys, indptr, indices, data, var_rank, measured, frequency, gene_token, chromosome, chromosome_token,
    mask_fraction, n_sample, systematic, max_chromosomes, hard_negatives, shuffled, chromosome_tokens,
    ids, lengths, queries, bag_sizes, bag_ranks, bag_counts,
):  # fmt: skip
    """Mask before sampling, so that no copy of a masked gene is in the sentence; queries are ranks."""
    n_genes = len(gene_token)
    total = np.zeros(n_genes)
    seen = np.zeros((n_genes + 63) // 64, dtype=np.uint64)
    ranks = np.empty(n_genes, dtype=np.int32)
    counts = np.empty(n_genes)
    mixed = np.empty(n_genes, dtype=np.int32)
    silent = np.empty(len(measured), dtype=np.int32)
    scores = np.empty(len(measured))
    state_of = np.zeros(n_genes, dtype=np.uint8)  # 1 expressed, 2 expressed and masked
    points = np.empty(n_sample)
    drawn = np.empty(n_sample, dtype=np.int32)
    starts = np.empty(max_chromosomes + 1, dtype=np.int64)
    order = np.empty(max_chromosomes, dtype=np.int64)
    state = np.empty(1, dtype=np.uint64)
    half = queries.shape[1] // 2
    for i in range(len(keys)):
        state[0] = keys[i]
        n = gather(indptr[i], indptr[i + 1], indices, data, var_rank, total, seen, ranks, counts)
        if n == 0:  # an empty view
            ids[i, 0] = CLS
            lengths[i] = 1
            continue
        n_masked = min(max(int(np.round(mask_fraction * n)), 1), n - 1)
        for j in range(n):
            mixed[j] = ranks[j]
            state_of[ranks[j]] = 1
        for j in range(n_masked):
            other = j + below(state, n - j)
            mixed[j], mixed[other] = mixed[other], mixed[j]
            state_of[mixed[j]] = 2
        for q in range(half):  # the masked genes are in random order already
            queries[i, q] = mixed[q] if half <= n_masked else mixed[below(state, n_masked)]
        if half > 0:
            n_silent = 0
            for rank in measured:
                if state_of[rank] == 0:
                    silent[n_silent] = rank
                    n_silent += 1
            if hard_negatives:
                _weighted_choice(silent, n_silent, frequency, scores, state, queries[i, half:])
            else:
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
            state_of[mixed[j]] = 0
        bag_sizes[i] = kept
        for j in range(kept):
            bag_ranks[indptr[i] + j] = ranks[j]
            bag_counts[indptr[i] + j] = counts[j]
        accumulate_log(counts, kept)
        lengths[i], _ = sample_sentence(
            ranks, counts, kept, gene_token, chromosome, chromosome_token, state, n_sample, systematic,
            max_chromosomes, points, drawn, starts, order, ids[i],
        )  # fmt: skip
        if shuffled:
            _shuffle_genes(ids[i], lengths[i], n_genes, state, drawn)
        if not chromosome_tokens:
            lengths[i] = _drop_chromosomes(ids[i], lengths[i], n_genes)


@numba.njit(nogil=True, cache=True)
def _weighted_choice(items, n, weight, scores, state, out):  # type: ignore[no-untyped-def]
    """Draw from the first ``n`` items by their weight: without replacement if there are enough, else with.

    Without replacement the items of smallest exponential variate over weight are taken (Efraimidis and Spirakis 2006).
    """
    if len(out) <= n:
        for j in range(n):
            scores[j] = -np.log(1.0 - uniform(state)) / weight[items[j]]
        last = np.partition(scores[:n], len(out) - 1)[len(out) - 1]
        q = 0
        for j in range(n):
            if scores[j] <= last and q < len(out):
                out[q] = items[j]
                q += 1
        return
    reached = 0.0
    for j in range(n):
        reached += weight[items[j]]
        scores[j] = reached
    for q in range(len(out)):
        out[q] = items[min(np.searchsorted(scores[:n], uniform(state) * reached, side="right"), n - 1)]


@numba.njit(nogil=True, cache=True)
def _shuffle_genes(sentence, length, n_genes, state, genes):  # type: ignore[no-untyped-def]
    """Permute the gene tokens of a sentence over their places; all other tokens stay."""
    n = 0
    for j in range(length):
        if N_SPECIAL <= sentence[j] < N_SPECIAL + n_genes:
            genes[n] = sentence[j]
            n += 1
    for j in range(length):
        if N_SPECIAL <= sentence[j] < N_SPECIAL + n_genes:
            n -= 1
            other = below(state, n + 1)
            sentence[j] = genes[other]
            genes[other] = genes[n]


@numba.njit(nogil=True, cache=True)
def _drop_chromosomes(sentence, length, n_genes):  # type: ignore[no-untyped-def]
    """Leave out the tokens that begin and end a chromosome; returns the new length."""
    kept = 0
    for j in range(length):
        token = sentence[j]
        if token != RIGHT and token < N_SPECIAL + n_genes:
            sentence[kept] = token
            kept += 1
    return kept

"""Draw cell sentences from counts.

The genes of a table are ranked once by chromosome and start, so that sorted uniforms merged along the cumulative
weights give draws in genome order. Each cell has its own random stream, keyed by the seed and its name: order, blocks,
subsets and threads cannot change a sentence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic
from scipy import sparse

from univerce.genes.table import CLS, N_SPECIAL, PAD, RIGHT
from univerce.model.config import SAMPLINGS, Sampling

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53
_N_LOGS = 4096
_LOGS = np.log1p(np.arange(_N_LOGS, dtype=np.float64))  # most counts are small


@dataclass(frozen=True)
class GenomeOrder:
    """A gene table in genome order.

    A *rank* is the position of a gene among all genes ordered by chromosome and start. Chromosomes are in decreasing
    number of genes, so that the small scaffolds at the end can be pooled if a sentence would overflow.
    """

    rank: np.ndarray
    """``[n_genes]`` int32, rank of every table row."""
    gene_token: np.ndarray
    """``[n_genes]`` int32, token id by rank."""
    chromosome: np.ndarray
    """``[n_genes]`` int32, chromosome (by size) by rank."""
    chromosome_token: np.ndarray
    """``[n_chromosomes]`` int32, token id by size of chromosome."""

    @classmethod
    def build(cls, chromosome: np.ndarray, start: np.ndarray) -> GenomeOrder:
        """Rank the genes of a table by the index of their chromosome and their genomic start, ``[n_genes]`` each.

        Genes with one start keep their order.
        """
        n_genes = len(chromosome)
        n_chromosomes = int(chromosome.max()) + 1 if n_genes else 0
        by_size = np.argsort(-np.bincount(chromosome, minlength=n_chromosomes), kind="stable")
        place = np.empty(n_chromosomes, dtype=np.int32)
        place[by_size] = np.arange(n_chromosomes)
        order = np.lexsort((np.arange(n_genes), start, place[chromosome]))
        rank = np.empty(n_genes, dtype=np.int32)
        rank[order] = np.arange(n_genes)
        return cls(
            rank=rank,
            gene_token=(N_SPECIAL + order).astype(np.int32),
            chromosome=place[chromosome][order].astype(np.int32),
            chromosome_token=(N_SPECIAL + n_genes + by_size).astype(np.int32),
        )

    def var_rank(self, rows: np.ndarray) -> np.ndarray:
        """Rank of each variable's gene, int32, from its table row; -1 stays -1."""
        found = rows >= 0
        rank = np.full(len(rows), -1, dtype=np.int32)
        rank[found] = self.rank[rows[found]]
        return rank


@dataclass(frozen=True)
class Sentences:
    """A batch of cell sentences."""

    ids: np.ndarray
    """``[n_cells, max_length]`` int32 token ids, PAD beyond a sentence's end."""
    lengths: np.ndarray
    """``[n_cells]`` int32 number of tokens; 0 for a cell without a count in any gene of the table."""
    pooled: np.ndarray
    """``[n_cells]`` bool: the smallest chromosomes of the cell were pooled to fit ``max_length``."""

    def take(self, cells: np.ndarray) -> Sentences:
        """The sentences of some cells."""
        return Sentences(self.ids[cells], self.lengths[cells], self.pooled[cells])


def cell_keys(names: Sequence[str] | np.ndarray, seed: int, *, draw: int = 0) -> np.ndarray:
    """Keys of the cells' random streams, ``[n_cells]`` uint64: hashes of seed, draw and cell name."""
    stem = hashlib.blake2b(digest_size=8, key=f"{seed}:{draw}".encode())
    keys = np.empty(len(names), dtype=np.uint64)
    for i, name in enumerate(names):
        h = stem.copy()
        h.update(name.encode())
        keys[i] = int.from_bytes(h.digest(), "little")
    return keys


def max_sentence_length(n_sample: int, n_chromosomes: int, max_length: int) -> int:
    """Longest possible sentence: CLS, the draws, two tokens per chromosome; at most ``max_length``."""
    return min(1 + n_sample + 2 * min(n_sample, n_chromosomes), max_length)


def max_groups(n_sample: int, max_length: int) -> int:
    """Number of chromosomes that fit a sentence of ``n_sample`` draws; ``ValueError`` if none does."""
    groups = (max_length - 1 - n_sample) // 2
    if n_sample < 1 or groups < 1:
        raise ValueError(f"n_sample={n_sample} must be between 1 and {max_length - 3}.")
    return groups


def tokenize(
    counts: sparse.csr_matrix,
    rows: np.ndarray,
    order: GenomeOrder,
    keys: np.ndarray,
    *,
    n_sample: int = 1024,
    sampling: Sampling = "multinomial",
    max_length: int = 1536,
    threads: int = 1,
) -> Sentences:
    """Draw the sentence of every cell (Rosen et al., Methods, "Cell sentences").

    Parameters
    ----------
    counts
        ``[n_cells, n_vars]`` CSR of raw counts; duplicate entries are added.
    rows
        ``[n_vars]`` table row of each variable, -1 without a gene; counts of variables that share a row are added.
    order
        The table in genome order.
    keys
        ``[n_cells]`` random streams from :func:`cell_keys`.
    n_sample
        Number of draws, each gene with probability ``log(x + 1) / sum log(x + 1)``.
    sampling
        ``"multinomial"`` draws independently (the paper); ``"systematic"`` spaces the draws evenly from a random
        offset: the same expected number of copies of every gene with far less variance.
    max_length
        Maximum length; beyond ``(max_length - 1 - n_sample) // 2`` chromosomes the smallest are pooled.
    threads
        Number of threads; it cannot change the result.

    Raises
    ------
    ValueError
        If ``n_sample`` leaves no room for a chromosome, or ``sampling`` is unknown.
    """
    max_chromosomes = max_groups(n_sample, max_length)
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling={sampling!r} is not known; use one of {', '.join(SAMPLINGS)}.")
    n_cells = counts.shape[0]
    width = max_sentence_length(n_sample, len(order.chromosome_token), max_length)
    ids = np.empty((n_cells, width), dtype=np.int32)  # each thread fills its own rows
    lengths = np.zeros(n_cells, dtype=np.int32)
    pooled = np.zeros(n_cells, dtype=np.bool_)
    var_rank = order.var_rank(rows)

    def run(begin: int, end: int) -> None:
        _tokenize(
            begin, end, counts.indptr, counts.indices, counts.data, var_rank,
            order.gene_token, order.chromosome, order.chromosome_token, keys,
            n_sample, sampling == "systematic", max_chromosomes, ids, lengths, pooled,
        )  # fmt: skip

    bounds = np.linspace(0, n_cells, threads + 1).astype(int)
    if threads == 1:
        run(0, n_cells)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, bounds[:-1], bounds[1:]))
    return Sentences(ids, lengths, pooled)


@numba.njit(nogil=True, cache=True)
def _tokenize(  # type: ignore[no-untyped-def]
    begin, end, indptr, indices, data, var_rank, gene_token, chromosome, chromosome_token, keys,
    n_sample, systematic, max_chromosomes, ids, lengths, pooled,
):  # fmt: skip
    n_genes = len(gene_token)
    total = np.zeros(n_genes)
    seen = np.zeros((n_genes + 63) // 64, dtype=np.uint64)
    ranks = np.empty(n_genes, dtype=np.int32)
    weights = np.empty(n_genes)
    points = np.empty(n_sample)
    drawn = np.empty(n_sample, dtype=np.int32)
    starts = np.empty(max_chromosomes + 1, dtype=np.int64)
    order = np.empty(max_chromosomes, dtype=np.int64)
    state = np.empty(1, dtype=np.uint64)
    for cell in range(begin, end):
        n = gather(indptr[cell], indptr[cell + 1], indices, data, var_rank, total, seen, ranks, weights)
        if n == 0:
            ids[cell] = PAD
            continue
        accumulate_log(weights, n)
        state[0] = keys[cell]
        lengths[cell], pooled[cell] = sample_sentence(
            ranks, weights, n, gene_token, chromosome, chromosome_token, state, n_sample, systematic,
            max_chromosomes, points, drawn, starts, order, ids[cell],
        )  # fmt: skip
        ids[cell, lengths[cell] :] = PAD


@numba.njit(nogil=True, cache=True)
def next_uint64(state):  # type: ignore[no-untyped-def]
    """One splitmix64 step; ``state`` is a one-element uint64 array."""
    state[0] += _GOLDEN
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def uniform(state):  # type: ignore[no-untyped-def]
    """A number in [0, 1) with 53 random bits."""
    return np.float64(next_uint64(state) >> np.uint64(11)) * _TO_UNIT


@numba.njit(nogil=True, cache=True)
def below(state, n):  # type: ignore[no-untyped-def]
    """An integer in [0, n); its bias is below n * 2**-53."""
    return np.int64(uniform(state) * n)


@numba.njit(nogil=True, cache=True)
def gather(begin, end, indices, data, var_rank, total, seen, ranks, counts):  # type: ignore[no-untyped-def]
    """Collect the expressed genes of a cell by increasing rank with their counts; return their number.

    ``total`` (per rank) and ``seen`` (one bit per rank) are scratch, zero on entry and on return. Walking a bit set is
    cheaper than sorting or scanning the genes.
    """
    for p in range(begin, end):
        rank = var_rank[indices[p]]
        if rank >= 0 and data[p] != 0:
            total[rank] += data[p]
            seen[rank >> 6] |= np.uint64(1) << np.uint64(rank & 63)
    n = 0
    for word in range(len(seen)):
        bits = seen[word]
        seen[word] = np.uint64(0)
        while bits != np.uint64(0):
            rank = (word << 6) + _trailing_zeros(bits)
            bits &= bits - np.uint64(1)
            ranks[n] = rank
            counts[n] = total[rank]
            total[rank] = 0.0
            n += 1
    return n


@intrinsic
def _trailing_zeros(typing_context, x):  # type: ignore[no-untyped-def]
    """Position of the lowest set bit of a non-zero 64-bit number (one machine instruction)."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return numba.int64(numba.uint64), generate


@numba.njit(nogil=True, cache=True)
def accumulate_log(counts, n):  # type: ignore[no-untyped-def]
    """Turn counts into cumulative weights log(x + 1), in place."""
    reached = 0.0
    for i in range(n):
        x = counts[i]
        whole = np.int64(x)
        if whole < _N_LOGS and whole == x:
            reached += _LOGS[whole]
        else:
            reached += np.log1p(x)
        counts[i] = reached


@numba.njit(nogil=True, cache=True)
def sample_sentence(  # type: ignore[no-untyped-def]
    ranks, cumulative, n, gene_token, chromosome, chromosome_token,
    state, n_sample, systematic, max_chromosomes, points, drawn, starts, order, out,
):  # fmt: skip
    """Draw one sentence into ``out`` from ``n`` genes with cumulative weights; return its length and whether it pooled.

    ``points`` and ``drawn`` [n_sample], ``starts`` [max_chromosomes + 1] and ``order`` [max_chromosomes] are scratch.
    """
    total = cumulative[n - 1]
    if systematic:
        offset = uniform(state)
        for i in range(n_sample):
            points[i] = (i + offset) / n_sample * total
    else:
        # Sorted uniforms without a sort: normalized partial sums of exponential spacings have the same distribution.
        reached = 0.0
        for i in range(n_sample):
            reached -= np.log(1.0 - uniform(state))
            points[i] = reached
        scale = total / (reached - np.log(1.0 - uniform(state)))
        for i in range(n_sample):
            points[i] *= scale

    gene = 0
    n_groups = 0
    last = -1
    pooled = False
    for i in range(n_sample):
        while gene < n - 1 and cumulative[gene] <= points[i]:
            gene += 1
        rank = ranks[gene]
        if chromosome[rank] != last:
            # Large chromosomes come first; without room for another group, the rest joins the last one.
            last = chromosome[rank]
            if n_groups < max_chromosomes:
                starts[n_groups] = i
                n_groups += 1
            else:
                pooled = True
        drawn[i] = rank
    starts[n_groups] = n_sample

    out[0] = CLS
    length = 1
    for k in range(n_groups):
        order[k] = k
    for k in range(n_groups):  # Fisher-Yates, writing each group as it is picked
        other = k + below(state, n_groups - k)
        order[k], order[other] = order[other], order[k]
        begin, end = starts[order[k]], starts[order[k] + 1]
        out[length] = chromosome_token[chromosome[drawn[begin]]]
        for i in range(begin, end):
            out[length + 1 + i - begin] = gene_token[drawn[i]]
        length += end - begin + 2
        out[length - 1] = RIGHT
    return length, pooled


def shuffled_rows(names: np.ndarray, rows: np.ndarray, seed: int, *, draw: int = 0) -> np.ndarray:
    """Sort ``rows`` of the cells with ``names`` by the hash of the seed and each cell's name.

    The first ``k`` of them are a random sample of the cells: the same for every order of the cells, and part of every
    larger sample. ``draw`` numbers streams of random numbers; :func:`univerce.tl.uce_embed` uses 0, 1, 2, ...
    """
    keys = cell_keys(names[rows], seed, draw=draw)
    return rows[np.argsort(keys, kind="stable")]

"""Masked sentences and query genes (Rosen et al., Methods, "Training objective")."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from scipy import sparse

from univerce.inference.sentences import (
    GenomeOrder,
    accumulate_log,
    below,
    gather,
    max_groups,
    max_sentence_length,
    sample_sentence,
)
from univerce.model.config import UCEConfig


@dataclass(frozen=True)
class Masked:
    """Masked cells of one species."""

    ids: np.ndarray
    """``[cells, width]`` int32 sentences of the genes that are not masked, in token ids of the gene table."""
    lengths: np.ndarray
    """``[cells]`` int32."""
    queries: np.ndarray
    """``[cells, n_queries]`` int32 ranks of genes: masked ones, then genes without a count."""


def mask_cells(
    counts: sparse.csr_matrix,
    keys: np.ndarray,
    var_rank: np.ndarray,
    measured: np.ndarray,
    order: GenomeOrder,
    model: UCEConfig,
    *,
    n_queries: int,
    mask_fraction: float,
) -> Masked:
    """Mask, sample and query cells that express at least two genes.

    ``keys`` are the keys of the cells' random streams, ``var_rank`` the rank of each variable's gene (-1 for none) and
    ``measured`` the ranks of the genes that the data set measures.
    """
    n_cells = counts.shape[0]
    width = max_sentence_length(model.n_sample, len(order.chromosome_token), model.max_length)
    ids = np.zeros((n_cells, width), dtype=np.int32)
    lengths = np.zeros(n_cells, dtype=np.int32)
    queries = np.zeros((n_cells, n_queries), dtype=np.int32)
    _mask_cells(
        keys, counts.indptr.astype(np.int64), counts.indices, counts.data, var_rank, measured, order.gene_token,
        order.chromosome, order.chromosome_token, mask_fraction, model.n_sample, model.sampling == "systematic",
        max_groups(model.n_sample, model.max_length), ids, lengths, queries,
    )  # fmt: skip
    return Masked(ids, lengths, queries)


@numba.njit(nogil=True, cache=True)
def _mask_cells(  # type: ignore[no-untyped-def]
    keys, indptr, indices, data, var_rank, measured, gene_token, chromosome, chromosome_token,
    mask_fraction, n_sample, systematic, max_chromosomes,
    ids, lengths, queries,
):  # fmt: skip
    """Mask before sampling, so that no copy of a masked gene is in the sentence."""
    n_genes = len(gene_token)
    total = np.zeros(n_genes)
    seen = np.zeros((n_genes + 63) // 64, dtype=np.uint64)
    ranks = np.empty(n_genes, dtype=np.int32)
    counts = np.empty(n_genes)
    mixed = np.empty(n_genes, dtype=np.int32)
    silent = np.empty(len(measured), dtype=np.int32)
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
        n_masked = min(max(int(np.round(mask_fraction * n)), 1), n - 1)
        for j in range(n):
            mixed[j] = ranks[j]
            state_of[ranks[j]] = 1
        for j in range(n_masked):
            other = j + below(state, n - j)
            mixed[j], mixed[other] = mixed[other], mixed[j]
            state_of[mixed[j]] = 2
        for q in range(half):  # the masked genes are in random order
            queries[i, q] = mixed[q] if half <= n_masked else mixed[below(state, n_masked)]
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
            state_of[mixed[j]] = 0
        accumulate_log(counts, kept)
        lengths[i], _ = sample_sentence(
            ranks, counts, kept, gene_token, chromosome, chromosome_token, state, n_sample, systematic,
            max_chromosomes, points, drawn, starts, order, ids[i],
        )  # fmt: skip

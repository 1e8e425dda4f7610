"""The expected sentence: every expressed gene once, as often and where draws would put it on average.

A token that stands in a sentence m times takes part in attention like one token whose logit is larger by log(m). So a
gene enters once, with the log of its expected number of draws on its logit, at the expected position of a draw. What is
left of chance is the order of the chromosomes.
"""

from __future__ import annotations

import numba
import numpy as np
from scipy import sparse

from univerce.genes.table import CLS, RIGHT
from univerce.inference.tokens import GenomeOrder, Sentences, accumulate_log, below, gather, max_groups


def expected_sentences(
    counts: sparse.csr_matrix,
    rows: np.ndarray,
    order: GenomeOrder,
    keys: np.ndarray,
    *,
    n_sample: int = 1024,
    max_length: int = 1536,
) -> Sentences:
    """The expected sentence of every cell.

    Parameters
    ----------
    counts, rows, order, keys
        As :func:`~univerce.inference.tokens.tokenize` takes them; the keys decide the order of the chromosomes.
    n_sample
        Number of draws that are averaged over.
    max_length
        Positions of a drawn sentence; beyond ``(max_length - 1 - n_sample) // 2`` chromosomes the smallest are pooled.
        The number of tokens is that of the expressed genes and may be larger.

    Returns
    -------
    The sentences with ``log_counts`` and ``positions``.

    Raises
    ------
    ValueError
        When ``n_sample`` leaves no room for a chromosome.
    """
    max_chromosomes = max_groups(n_sample, max_length)
    n_cells = counts.shape[0]
    genes = int(np.diff(counts.indptr).max(initial=0))
    width = 1 + genes + 2 * min(genes, max_chromosomes, len(order.chromosome_token))
    ids = np.zeros((n_cells, width), dtype=np.int32)
    log_counts, positions = (np.zeros((n_cells, width), dtype=np.float32) for _ in range(2))
    lengths, pooled = np.zeros(n_cells, dtype=np.int32), np.zeros(n_cells, dtype=np.bool_)
    _expect(
        counts.indptr, counts.indices, counts.data, order.var_rank(rows), order.gene_token, order.chromosome,
        order.chromosome_token, keys, n_sample, max_chromosomes, ids, log_counts, positions, lengths, pooled,
    )  # fmt: skip
    width = max(int(lengths.max(initial=0)), 1)
    return Sentences(ids[:, :width], lengths, pooled, log_counts[:, :width], positions[:, :width])


@numba.njit(nogil=True, cache=True)
def _expect(  # type: ignore[no-untyped-def]
    indptr, indices, data, var_rank, gene_token, chromosome, chromosome_token, keys, n_sample, max_chromosomes,
    ids, log_counts, positions, lengths, pooled,
):  # fmt: skip
    n_genes = len(gene_token)
    total = np.zeros(n_genes)
    seen = np.zeros((n_genes + 63) // 64, dtype=np.uint64)
    ranks = np.empty(n_genes, dtype=np.int32)
    weights = np.empty(n_genes)
    starts = np.empty(max_chromosomes + 1, dtype=np.int64)
    order = np.empty(max_chromosomes, dtype=np.int64)
    state = np.empty(1, dtype=np.uint64)
    for cell in range(len(lengths)):
        n = gather(indptr[cell], indptr[cell + 1], indices, data, var_rank, total, seen, ranks, weights)
        if n == 0:
            continue
        accumulate_log(weights, n)
        state[0] = keys[cell]
        n_groups = 0
        last = -1
        for i in range(n):  # large chromosomes come first; when the groups run out, the rest joins the last one
            if chromosome[ranks[i]] != last:
                last = chromosome[ranks[i]]
                if n_groups < max_chromosomes:
                    starts[n_groups] = i
                    order[n_groups] = n_groups
                    n_groups += 1
                else:
                    pooled[cell] = True
        starts[n_groups] = n
        ids[cell, 0] = CLS
        at = 1
        reached = 1.0  # where the next chromosome begins for a draw, which the other n_sample - 1 precede or follow
        for k in range(n_groups):  # Fisher-Yates, writing each group as it is picked
            other = k + below(state, n_groups - k)
            order[k], order[other] = order[other], order[k]
            begin, end = starts[order[k]], starts[order[k] + 1]
            before = weights[begin - 1] if begin else 0.0
            share = (weights[end - 1] - before) / weights[n - 1]
            present = -np.expm1(n_sample * np.log1p(-share)) if share < 1 else 1.0
            ids[cell, at] = chromosome_token[chromosome[ranks[begin]]]
            log_counts[cell, at] = np.log(present)
            positions[cell, at] = reached
            at += 1
            low = before
            for i in range(begin, end):
                p = (weights[i] - low) / weights[n - 1]
                ids[cell, at] = gene_token[ranks[i]]
                log_counts[cell, at] = np.log(n_sample * p)
                positions[cell, at] = reached + 1 + (n_sample - 1) * ((low - before) / weights[n - 1] + p / 2)
                low = weights[i]
                at += 1
            ids[cell, at] = RIGHT
            log_counts[cell, at] = np.log(present)
            positions[cell, at] = reached + 1 + n_sample * share / present
            at += 1
            among_others = -np.expm1((n_sample - 1) * np.log1p(-share)) if share < 1 else 1.0
            reached += (n_sample - 1) * share + 2 * among_others
        lengths[cell] = at

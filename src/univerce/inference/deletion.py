"""Delete genes from sentences and keep the rest of each.

Draws of other genes stay. Draws of a deleted gene are repeated among the remaining genes: for independent draws this is
exactly the distribution of sentences without the gene, for evenly spaced ones the same expected number of copies.
Chromosomes keep their order; a new one goes to a random position.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from univerce.genes.table import CLS, N_SPECIAL, PAD, RIGHT
from univerce.inference.tokens import GenomeOrder, Sentences, max_groups
from univerce.model.config import Sampling


def delete_from_sentences(
    sentences: Sentences,
    counts: sparse.csr_matrix,
    tokens: np.ndarray,
    order: GenomeOrder,
    keys: np.ndarray,
    *,
    sampling: Sampling,
    n_sample: int,
    max_length: int,
) -> tuple[Sentences, np.ndarray]:
    """Delete genes from sentences of :func:`univerce.inference.tokens.tokenize`.

    Parameters
    ----------
    sentences
        Sentences of local token ids.
    counts
        ``[n_cells, n_tokens]`` counts of the sentences.
    tokens
        Token ids of the genes to delete.
    order
        The gene table in genome order.
    keys
        ``[n_cells]`` seeds of the new draws.
    sampling, n_sample, max_length
        As the sentences were drawn.

    Returns
    -------
    The sentences, empty if no gene is left, and ``[n_cells]`` whether each changed.
    """
    room = max_groups(n_sample, max_length)
    ids, lengths = sentences.ids.copy(), sentences.lengths.copy()
    first_chromosome = N_SPECIAL + len(order.rank)
    changed = np.zeros(len(lengths), dtype=bool)
    for cell in np.flatnonzero(lengths > 0):
        old = ids[cell, : lengths[cell]].copy()
        genes = old[(old >= N_SPECIAL) & (old < first_chromosome)]
        gone = np.isin(genes, tokens)
        if not gone.any():
            continue
        changed[cell] = True
        ids[cell] = PAD
        mine = slice(counts.indptr[cell], counts.indptr[cell + 1])
        left = ~np.isin(counts.indices[mine], tokens) & (counts.data[mine] > 0)
        if not left.any():
            lengths[cell] = 0
            continue
        rng = np.random.default_rng(int(keys[cell]))
        new = _draw(
            order.rank[counts.indices[mine][left] - N_SPECIAL], counts.data[mine][left], int(gone.sum()), sampling, rng
        )
        drawn = np.sort(np.concatenate([order.rank[genes[~gone] - N_SPECIAL], new]))
        sentence = _write(drawn, old[old >= first_chromosome], order, room, rng)
        ids[cell, : len(sentence)] = sentence
        lengths[cell] = len(sentence)
    return Sentences(ids, lengths, sentences.pooled), changed


def _draw(ranks: np.ndarray, counts: np.ndarray, n: int, sampling: Sampling, rng: np.random.Generator) -> np.ndarray:
    """Draw ``[n]`` ranks with probability log(x + 1) / sum log(x + 1)."""
    by_rank = np.argsort(ranks)
    reached = np.cumsum(np.log1p(counts[by_rank].astype(np.float64)))
    points = (np.arange(n) + rng.random()) / n if sampling == "systematic" else rng.random(n)
    places = np.searchsorted(reached, points * reached[-1], side="right")
    return np.asarray(ranks[by_rank][np.minimum(places, len(ranks) - 1)])


def _write(drawn: np.ndarray, old: np.ndarray, order: GenomeOrder, room: int, rng: np.random.Generator) -> np.ndarray:
    """Write the sentence of sorted ranks; old chromosomes keep their order."""
    chromosome = order.chromosome[drawn]
    group = np.minimum(np.cumsum(np.append(False, chromosome[1:] != chromosome[:-1])), room - 1)
    starts = np.searchsorted(group, np.arange(group[-1] + 2))
    names = order.chromosome_token[chromosome[starts[:-1]]]
    place = {int(token): i for i, token in enumerate(old)}
    known = [k for k in range(len(names)) if int(names[k]) in place]
    sequence = sorted(known, key=lambda k: place[int(names[k])])
    for k in range(len(names)):
        if int(names[k]) not in place:
            sequence.insert(int(rng.integers(len(sequence) + 1)), k)
    parts = [[[names[k]], order.gene_token[drawn[starts[k] : starts[k + 1]]], [RIGHT]] for k in sequence]
    return np.concatenate([[CLS], *(piece for part in parts for piece in part)]).astype(np.int32)

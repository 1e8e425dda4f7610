"""Sentences without some genes, which keep as much of the original sentence as possible.

Draws of other genes stay. Draws of a deleted gene are replaced by draws from the remaining genes. With independent
draws this gives exactly the distribution of sentences without the gene, with systematic ones the same expected number
of copies. Chromosomes keep their order; a new chromosome is inserted at a random position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from univerce.genes.table import CLS, N_SPECIAL, PAD, RIGHT
from univerce.inference.block import BLOCK_ROWS
from univerce.inference.embedder import Embedder
from univerce.inference.encoder import Deleted
from univerce.inference.inputs import Inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.inference.sentences import GenomeOrder, Sentences, cell_keys, max_groups
from univerce.model.config import Sampling

_DRAW = -6


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
    """Delete genes from sentences drawn by :func:`univerce.inference.sentences.tokenize`, with the same options.

    The sentences are of local token ids, drawn from ``counts`` ``[n_cells, n_tokens]``; ``tokens`` are those of the
    genes to delete, ``order`` is the gene table in genome order, and ``keys`` ``[n_cells]`` seed the new draws. Returns
    the sentences, empty if no gene is left, and ``[n_cells]`` bool which of them changed.
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
    """``[n]`` ranks, drawn with probability log(x + 1) / sum log(x + 1)."""
    by_rank = np.argsort(ranks)
    reached = np.cumsum(np.log1p(counts[by_rank].astype(np.float64)))
    points = (np.arange(n) + rng.random()) / n if sampling == "systematic" else rng.random(n)
    places = np.searchsorted(reached, points * reached[-1], side="right")
    return np.asarray(ranks[by_rank][np.minimum(places, len(ranks) - 1)])


def _write(drawn: np.ndarray, old: np.ndarray, order: GenomeOrder, room: int, rng: np.random.Generator) -> np.ndarray:
    """Write the sentence of sorted ranks; ``old`` chromosomes keep their order."""
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


def embed_deleted(
    inputs: Inputs,
    embedders: Sequence[Embedder],
    tokens: Sequence[Mapping[str, np.ndarray]],
    done: Callable[[int], Any],
) -> Iterator[Deleted]:
    """Embed the cells of each block without the genes of each deletion.

    ``tokens`` are local token ids by deletion, for each species.
    """
    drawing = inputs.sentences()
    orders = [genes.order() for genes in inputs.genes]
    for rows, groups in draw_sentences(inputs, BLOCK_ROWS, with_counts=True):
        for group in groups:
            cells = rows.start + group.cells
            for name, some in tokens[group.species].items():
                expressing = np.flatnonzero(np.asarray(group.counts[:, some].sum(axis=1)).ravel() > 0)
                counts = group.counts[expressing]
                draws, changed = [], np.zeros(len(expressing), dtype=bool)
                for draw, sentences in enumerate(group.draws):
                    keys = cell_keys(inputs.names[cells[expressing]], drawing.seed, draw=_DRAW - draw)
                    without, differs = delete_from_sentences(
                        sentences.take(expressing), counts, some, orders[group.species], keys,
                        sampling=drawing.sampling, n_sample=drawing.n_sample, max_length=drawing.max_length,
                    )  # fmt: skip
                    draws.append(without)
                    changed |= differs
                embedder = embedders[group.species]
                total: Any = sum(embedder.embed(without.take(np.flatnonzero(changed))) for without in draws)
                if len(draws) > 1:
                    total /= np.linalg.norm(total, axis=1, keepdims=True)
                done(len(group.cells) * len(draws))
                yield Deleted(name, cells[expressing], cells[expressing[changed]], total)

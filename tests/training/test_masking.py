"""Masked sentences and queries against a plain reading of the training objective."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from tests.helpers.toy import toy_counts, toy_table
from univerce.genes.table import CLS, N_SPECIAL, RIGHT, chromosome_index
from univerce.inference.sentences import GenomeOrder
from univerce.model import UCEConfig
from univerce.training.masking import Masked, mask_cells

TABLE = toy_table(40, 5, seed=0)
ORDER = GenomeOrder.build(chromosome_index(TABLE), TABLE.obs["start"].to_numpy())
N_SAMPLE = 400  # every gene that is not masked is drawn
MODEL = UCEConfig(n_sample=N_SAMPLE, max_length=512, sampling="systematic")
N_QUERIES, FRACTION = 12, 0.25
P_VALUE = 1e-4


def mask(counts, rows, *, seed: int = 0, n_queries: int = N_QUERIES, model: UCEConfig = MODEL) -> Masked:
    keys = np.random.default_rng(seed).integers(2**64, size=counts.shape[0], dtype=np.uint64)
    ranks = ORDER.var_rank(rows)
    measured = np.unique(ranks[ranks >= 0])
    return mask_cells(
        counts, keys, ranks, measured, ORDER, model, n_queries=n_queries, mask_fraction=FRACTION
    )  # fmt: skip


def genes(ranks) -> list[int]:
    """Rows of the table from ranks."""
    return (ORDER.gene_token[ranks] - N_SPECIAL).tolist()


def sentence_genes(found: Masked, i: int) -> list[int]:
    """Rows of the table in a sentence, whose structure is checked."""
    ids = found.ids[i, : found.lengths[i]]
    assert ids[0] == CLS
    assert ids[-1] == RIGHT
    chromosome, start = chromosome_index(TABLE), TABLE.obs["start"].to_numpy()
    out: list[int] = []
    for group in np.split(ids[1:], np.flatnonzero(ids[1:] == RIGHT) + 1)[:-1]:
        rows = group[1:-1] - N_SPECIAL
        assert (chromosome[rows] == group[0] - N_SPECIAL - 40).all()
        assert (np.diff(start[rows]) >= 0).all()
        out += rows.tolist()
    return out


@pytest.mark.parametrize("rate", [1.0, 0.2], ids=["many counts", "few counts"])
def test_cells_are_masked_sampled_and_queried_as_in_the_paper(rate):
    rng = np.random.default_rng(1)
    rows = rng.permutation(40)[:36]
    rows = np.concatenate([rows, rows[:1], [-1, -1]]).astype(np.int32)  # one gene is measured twice
    counts = toy_counts(60, len(rows), seed=1, rate=rate)
    by_gene = np.zeros((60, 41))
    np.add.at(by_gene.T, rows, counts.toarray().T)
    by_gene, measured = by_gene[:, :40], set(rows[:36].tolist())
    n_expressed = (by_gene > 0).sum(axis=1)
    usable = (n_expressed >= 2) & (n_expressed < 36)
    by_gene = by_gene[usable]
    found = mask(counts[usable], rows)
    few = 0
    for i, cell in enumerate(by_gene):
        expressed = set(np.flatnonzero(cell).tolist())
        sentence = Counter(sentence_genes(found, i))
        kept = sorted(sentence)
        masked = expressed - set(kept)
        assert set(kept) <= expressed
        assert len(masked) == min(max(round(FRACTION * len(expressed)), 1), len(expressed) - 1)
        share = np.log1p(cell[kept]) / np.log1p(cell[kept]).sum()
        assert all(abs(sentence[g] - N_SAMPLE * p) < 1 + 1e-6 for g, p in zip(kept, share, strict=True))
        asked, silent = genes(found.queries[i, :6]), genes(found.queries[i, 6:])
        assert set(asked) <= masked
        assert set(silent) <= measured - expressed
        assert len(set(asked)) == 6 if len(masked) >= 6 else len(set(asked)) <= len(masked)
        assert len(set(silent)) == 6 or len(measured - expressed) < 6
        few += len(masked) < 6
    assert few


def copies(n_expressed: int, n: int) -> tuple[sp.csr_matrix, np.ndarray]:
    """Copies of a cell with counts in the first of 30 measured genes."""
    counts = np.zeros((n, 30), dtype=np.float32)
    counts[:, :n_expressed] = 2
    return sp.csr_matrix(counts), np.arange(30, dtype=np.int32)


@pytest.mark.parametrize(
    "n_expressed, n_masked",
    [(2, 1), (3, 1), (10, 2), (23, 6), (24, 6), (25, 6), (29, 7)],
    ids=[
        "one of two genes", "at least one", "rounded to even", "as many as queried", "as many silent genes as queried",
        "one silent gene too few", "a single silent gene",
    ],
)  # fmt: skip
def test_queries_repeat_only_if_there_are_too_few_genes(n_expressed, n_masked):
    found = mask(*copies(n_expressed, 100))
    for i in range(100):
        masked = set(range(n_expressed)) - set(sentence_genes(found, i))
        assert len(masked) == n_masked
        asked, silent = set(genes(found.queries[i, :6])), set(genes(found.queries[i, 6:]))
        assert asked <= masked
        assert silent <= set(range(n_expressed, 30))
        assert len(asked) == 6 or n_masked < 6
        assert len(silent) == 6 or 30 - n_expressed < 6


def test_every_gene_is_as_likely_to_be_masked_queried_or_silent():
    found = mask(*copies(12, 1500), n_queries=4)
    kept = Counter(gene for i in range(1500) for gene in set(sentence_genes(found, i)))
    asked, silent = (Counter(genes(x.ravel())) for x in (found.queries[:, :2], found.queries[:, 2:]))
    for seen, expected in ((kept, range(12)), (asked, range(12)), (silent, range(12, 30))):
        assert stats.chisquare([seen[g] for g in expected]).pvalue > P_VALUE
    assert sum(kept.values()) == 1500 * 9


def test_multinomial_and_systematic_sentences_differ_only_in_spread():
    spread = {}
    for sampling in ("systematic", "multinomial"):
        found = mask(*copies(8, 400), model=UCEConfig(n_sample=50, max_length=128, sampling=sampling))
        seen = [n for i in range(400) for n in Counter(sentence_genes(found, i)).values()]
        assert sum(seen) == 400 * 50
        spread[sampling] = np.std(seen)
    assert spread["systematic"] < 0.6 < 1.5 < spread["multinomial"]

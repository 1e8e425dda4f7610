"""Sentences without some genes: draws that stay, draws that are repeated, and their distribution."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from tests.helpers.toy import toy_counts, toy_table
from univerce.genes.table import N_SPECIAL, chromosome_index, n_tokens
from univerce.inference.deletion import delete_from_sentences
from univerce.inference.sentences import GenomeOrder, cell_keys, tokenize

N_GENES, N_SAMPLE, MAX_LENGTH = 30, 50, 80
TABLE = toy_table(N_GENES, 4)
ORDER = GenomeOrder.build(chromosome_index(TABLE), TABLE.obs["start"].to_numpy())
CHROMOSOME = chromosome_index(TABLE)


def draw(counts, sampling, seed=0, max_length=MAX_LENGTH):
    keys = cell_keys([f"c{i}" for i in range(counts.shape[0])], seed)
    return tokenize(
        sp.csr_matrix(counts), np.arange(N_GENES), ORDER, keys, n_sample=N_SAMPLE, sampling=sampling,
        max_length=max_length,
    )  # fmt: skip


def delete(sentences, counts, genes, sampling, seed=1, max_length=MAX_LENGTH):
    tokens = sp.hstack([sp.csr_matrix((counts.shape[0], N_SPECIAL)), counts], format="csr")
    tokens.resize(counts.shape[0], n_tokens(TABLE))
    keys = cell_keys([f"c{i}" for i in range(counts.shape[0])], seed)
    return delete_from_sentences(
        sentences, tokens, np.asarray(genes) + N_SPECIAL, ORDER, keys, sampling=sampling, n_sample=N_SAMPLE,
        max_length=max_length,
    )  # fmt: skip


def copies(sentences) -> np.ndarray:
    """``[n_cells, n_genes]`` how often each gene occurs."""
    ids = sentences.ids - N_SPECIAL
    return np.stack([np.bincount(row[(row >= 0) & (row < N_GENES)], minlength=N_GENES) for row in ids])


def chromosomes(row) -> list[int]:
    return [int(t) for t in row if t >= N_SPECIAL + N_GENES]


def check_grammar(row, length):
    """CLS, then chromosomes with their genes by start, each closed by RIGHT, then pads."""
    assert row[0] == 3
    assert not row[length:].any()
    groups = np.split(row[1:length], np.flatnonzero(row[1:length] == 2) + 1)[:-1]
    assert len(set(chromosomes(row))) == len(groups)
    for group in groups:
        genes = group[1:-1] - N_SPECIAL
        assert (CHROMOSOME[genes] == group[0] - N_SPECIAL - N_GENES).all()
        assert TABLE.obs["start"].iloc[genes].is_monotonic_increasing


@pytest.mark.parametrize("sampling", ["multinomial", "systematic"])
def test_other_draws_and_the_order_of_chromosomes_stay(sampling):
    counts = toy_counts(60, N_GENES)
    before = draw(counts, sampling)
    after, changed = delete(before, counts, [3, 11], sampling)
    old, new = copies(before), copies(after)
    np.testing.assert_array_equal(changed, old[:, [3, 11]].any(axis=1))
    assert changed.any()
    assert not changed.all()
    assert not new[:, [3, 11]].any()
    others = np.setdiff1d(np.arange(N_GENES), [3, 11])
    assert (new[:, others] >= old[:, others]).all()
    full = after.lengths > 0
    assert (new[full].sum(axis=1) == N_SAMPLE).all()
    np.testing.assert_array_equal(after.ids[~changed], before.ids[~changed])
    for cell in np.flatnonzero(changed & full):
        check_grammar(after.ids[cell], after.lengths[cell])
        was, is_now = chromosomes(before.ids[cell]), chromosomes(after.ids[cell])
        assert [c for c in was if c in is_now] == [c for c in is_now if c in was]
    silent = counts.toarray() == 0
    assert not new[silent].any()


@pytest.mark.parametrize("sampling", ["multinomial", "systematic"])
def test_copies_have_the_distribution_of_sentences_without_the_gene(sampling):
    counts = np.tile(toy_counts(1, N_GENES, seed=2).toarray(), (3000, 1))
    gene = int(counts[0].argmax())
    after, _ = delete(draw(counts, sampling), sp.csr_matrix(counts), [gene], sampling)
    without = counts.copy()
    without[:, gene] = 0
    fresh = copies(draw(without, sampling, seed=7))
    mine = copies(after)
    weights = np.log1p(without[0])
    np.testing.assert_allclose(mine.mean(axis=0), N_SAMPLE * weights / weights.sum(), atol=0.25)
    if sampling == "multinomial":
        np.testing.assert_allclose(mine.var(axis=0), fresh.var(axis=0), rtol=0.2, atol=0.1)


def test_a_cell_with_no_other_gene_has_no_sentence():
    counts = sp.csr_matrix(([5.0, 2.0], ([0, 0], [4, 9])), shape=(2, N_GENES))
    after, changed = delete(draw(counts, "multinomial"), counts, [4, 9], "multinomial")
    assert after.lengths.tolist() == [0, 0]
    assert not after.ids.any()
    assert changed.tolist() == [True, False]


def test_a_new_chromosome_comes_at_every_place():
    counts = np.zeros((400, N_GENES))
    firsts = [int(np.flatnonzero(c == CHROMOSOME)[0]) for c in range(4)]
    counts[:, firsts] = [5000, 0, 5000, 5000]
    before = draw(counts, "systematic")
    counts[:, firsts[1]] = 5000
    after, _ = delete(before, sp.csr_matrix(counts), [firsts[0]], "systematic")
    places = [chromosomes(row).index(int(CHROMOSOME[firsts[1]]) + N_SPECIAL + N_GENES) for row, was in
              zip(after.ids, before.ids, strict=True) if len(chromosomes(was)) == 3]  # fmt: skip
    assert len(places) > 100
    assert set(places) == {0, 1, 2}


def test_too_many_chromosomes_stay_pooled_and_other_cells_do_not_matter():
    counts = toy_counts(40, N_GENES, rate=3.0)
    short = N_SAMPLE + 1 + 2 * 2
    before = draw(counts, "multinomial", max_length=short)
    assert before.pooled.any()
    after, _ = delete(before, counts, [0, 1, 2], "multinomial", max_length=short)
    assert (after.lengths <= short).all()
    assert (copies(after).sum(axis=1)[after.lengths > 0] == N_SAMPLE).all()
    first, _ = delete(before.take(np.arange(5)), counts[:5], [0, 1, 2], "multinomial", max_length=short)
    np.testing.assert_array_equal(first.ids, after.ids[:5])

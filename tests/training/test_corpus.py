"""The data sets of a corpus: their cells, vocabulary, frequencies and batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from tests.helpers.toy import toy_counts, toy_table
from tests.helpers.training_cells import MODEL, on_disk
from univerce.genes.table import CLS, N_SPECIAL
from univerce.model import PretrainConfig
from univerce.training.corpus import Batch, Corpus, Plan
from univerce.training.training_set import TrainingSet

ONE, OTHER = toy_table(40, 5, seed=0), toy_table(25, 3, seed=1, species="other")
BASES = {id(ONE): 0, id(OTHER): N_SPECIAL + 40 + 5}
P_VALUE = 1e-4


def training_set(name: str, table, n_cells: int = 60, *, seed: int = 0, rate: float = 1.0) -> TrainingSet:
    """Counts of some genes of the table in random order, one measured twice, and of variables without a gene."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(table.n_obs)[: table.n_obs - 4]
    rows = np.concatenate([rows, rows[:1], [-1, -1]]).astype(np.int32)
    return TrainingSet(name, toy_counts(n_cells, len(rows), seed=seed, rate=rate), rows, table)


SETS = [
    training_set("first", ONE, seed=1),
    training_set("second", OTHER, seed=2),
    training_set("third", ONE, seed=3, rate=0.2),
]


def corpus(sets=SETS, *, n_sample: int = 50, **changes) -> Corpus:
    recipe = {"n_queries": 12, "mask_fraction": 0.25} | changes
    return Corpus(sets, replace(MODEL, n_sample=n_sample, max_length=128), PretrainConfig(**recipe))


def by_gene(s: TrainingSet) -> np.ndarray:
    """``[n_cells, n_genes]`` counts in the rows of the table."""
    out = np.zeros((s.counts.shape[0], s.table.n_obs))
    for column, row in zip(s.counts.toarray().T, s.rows, strict=True):
        if row >= 0:
            out[:, row] += column
    return out


def training_cells(c: Corpus, part: int) -> np.ndarray:
    return c._parts[part].survey.training


def batch_of(c: Corpus, part: int, cells, seed: int = 0) -> Batch:
    """A batch of known cells."""
    keys = np.random.default_rng(seed).integers(2**64, size=len(cells), dtype=np.uint64)
    return c.draw(Plan(np.full(len(cells), part), np.asarray(cells), keys))


def sample(c: Corpus, n: int, seed: int = 0, step: int | None = None) -> Batch:
    return c.draw(c.plan(n, np.random.default_rng(seed), step=step))


def genes_of(tokens, s: TrainingSet) -> np.ndarray:
    """Rows of the table from tokens of the vocabulary; a token that is not a gene of this table fails."""
    rows = np.asarray(tokens) - BASES[id(s.table)] - N_SPECIAL
    assert ((rows >= 0) & (rows < s.table.n_obs)).all()
    return rows


def assert_same_batch(one: Batch, other: Batch) -> None:
    for field in ("sets", "ids", "lengths", "queries", "offsets", "global_offsets"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


# Vocabulary and batches


def test_species_share_a_vocabulary_without_a_clash():
    c = corpus()
    features = c.vocabulary.features
    assert len(features) == (4 + 40 + 5) + (4 + 25 + 3)  # the table of two sets is there once
    assert not features[0].any()  # PAD
    for part, s in enumerate(SETS):
        base, n, info = BASES[id(s.table)], s.table.n_obs, s.table.uns
        batch = batch_of(c, part, training_cells(c, part))
        used = np.unique(np.concatenate([batch.ids[batch.ids > 0], batch.queries.ravel()]))
        assert base < used.min()
        assert used.max() < base + N_SPECIAL + n + len(info["chromosome_codes"])
        expected = np.concatenate([info["special_features"], s.table.X, info["chromosome_features"]])
        np.testing.assert_array_equal(features[base : base + len(expected)], expected)
    copied = [replace(s, table=s.table.copy()) for s in SETS]
    np.testing.assert_array_equal(corpus(copied).vocabulary.features, features)
    assert_same_batch(sample(c, 9), sample(corpus(copied), 9))


def test_a_batch_of_several_species_keeps_each_cell_together():
    c = corpus()
    plan = c.plan(40, np.random.default_rng(0))
    batch = c.draw(plan)
    assert batch.sets.tolist() == plan.sets.tolist()
    assert batch.ids.shape == (40, batch.lengths.max())
    for i, (part, cell) in enumerate(zip(plan.sets, plan.cells, strict=True)):
        s = SETS[part]
        counts = by_gene(s)[cell]
        ids = batch.ids[i, : batch.lengths[i]] - BASES[id(s.table)]
        assert ids[0] == CLS
        kept = ids[(ids >= N_SPECIAL) & (ids < N_SPECIAL + s.table.n_obs)] - N_SPECIAL
        assert (counts[kept] > 0).all()
        assert not batch.ids[i, batch.lengths[i] :].any()
        asked = genes_of(batch.queries[i], s)
        assert (counts[asked[:6]] > 0).all()
        assert not set(asked[:6]) & set(kept)
        assert not counts[asked[6:]].any()


def test_the_shares_of_a_plan_are_the_plan_and_their_batches_the_batch():
    c = corpus()
    plan = c.plan(12, np.random.default_rng(0))
    whole, parts = c.draw(plan), [c.draw(plan.share(i, 3)) for i in range(3)]
    for field in ("sets", "lengths", "queries", "offsets"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, field) for p in parts]), getattr(whole, field))


# Which cells


def test_cells_without_anything_to_predict_are_left_out():
    counts = np.array([[0, 0, 0, 9], [1, 0, 0, 9], [1, 1, 0, 9], [1, 2, 3, 0], [0, 4, 4, 0]], dtype=np.float32)
    c = corpus([TrainingSet("some", sp.csr_matrix(counts), np.array([3, 1, 2, -1], dtype=np.int32), ONE)], held_out=0)
    assert training_cells(c, 0).tolist() == [2, 4]  # without counts, with one gene, and with all genes measured


def test_stored_zeros_are_not_counts():
    dense = toy_counts(30, 20, seed=5)
    stored = sp.csr_matrix((dense.toarray().ravel(), np.tile(np.arange(20), 30), np.arange(0, 601, 20)), shape=(30, 20))
    assert stored.nnz == 600 > dense.nnz
    rows = np.arange(20, dtype=np.int32)
    one, other = (corpus([TrainingSet("set", x, rows, ONE)]) for x in (dense, stored))
    assert_same_batch(*(batch_of(c, 0, training_cells(one, 0)) for c in (one, other)))


def test_repeated_entries_of_narrow_integers_are_added():
    counts = toy_counts(30, 20, seed=5).astype(np.uint8)
    counts.data[:] = 200
    twice = sp.csr_matrix((np.repeat(counts.data, 2), np.repeat(counts.indices, 2), counts.indptr * 2), counts.shape)
    found = TrainingSet("set", twice, np.arange(20, dtype=np.int32), ONE).open()
    np.testing.assert_array_equal(found.toarray(), counts.toarray().astype(int) * 2)


def test_cells_are_split_by_the_seed():
    c, again, other = corpus(held_out=0.2), corpus(held_out=0.2), corpus(held_out=0.2, seed=1)
    splits = [[p.survey.validation.tolist() for p in x._parts] for x in (c, again, other)]
    assert splits[0] == splits[1] != splits[2]
    for part, s in enumerate(SETS):
        usable = np.flatnonzero(((n := (by_gene(s) > 0).sum(1)) >= 2) & (n < len(np.unique(s.rows)) - 1))
        assert sorted([*training_cells(c, part), *splits[0][part]]) == usable.tolist()
        assert len(splits[0][part]) == round(0.2 * len(usable)) == c.sizes(validation=True)[part]
    batch = c.validation(1, np.random.default_rng(0), n_cells=5)
    assert len(batch.lengths) == 5
    assert len(c.validation(1, np.random.default_rng(0), n_cells=10_000).lengths) == c.sizes(validation=True)[1]
    held_out = by_gene(SETS[1])[splits[0][1]] > 0
    for queries in batch.queries:  # some held-out cell expresses the first half and none of the second
        asked, silent = genes_of(queries[:6], SETS[1]), genes_of(queries[6:], SETS[1])
        assert (held_out[:, asked].all(axis=1) & ~held_out[:, silent].any(axis=1)).any()


def test_a_batch_follows_from_the_generator():
    assert_same_batch(sample(corpus(), 16, 3), sample(corpus(), 16, 3))
    assert not np.array_equal(sample(corpus(), 16, 3).queries, sample(corpus(), 16, 4).queries)


def test_data_sets_are_picked_by_size_to_the_temperature():
    c = corpus([training_set("large", ONE, 400, seed=1), training_set("small", OTHER, 25, seed=2)], temperature=0.5)
    weight = c.sizes() ** 0.5
    from_large = int((c.plan(2000, np.random.default_rng(0)).sets == 0).sum())
    assert stats.binomtest(from_large, 2000, weight[0] / weight.sum()).pvalue > P_VALUE


def test_a_held_out_data_set_is_neither_trained_on_nor_counted_in_the_frequencies():
    c, without = corpus(held_out_sets=["third"], held_out=0.1), corpus(SETS[:2], held_out=0.1)
    assert c.is_held_out.tolist() == [False, False, True]
    assert c.sizes()[2] == 0
    assert c.sizes(validation=True)[2] == round(0.5 * (len(training_cells(c, 2)) + c.sizes(validation=True)[2]))
    assert set(c.plan(3000, np.random.default_rng(0)).sets) == {0, 1}
    np.testing.assert_array_equal(c._frequency()[0], without._frequency()[0])
    alone = corpus(held_out_sets=["second"], held_out=0.1)  # the only one of its species
    assert not alone.validation(1, np.random.default_rng(0), n_cells=5).global_offsets.any()


# Frequencies


def test_offsets_are_the_log_odds_of_a_gene_against_the_mean_gene():
    s, c = SETS[0], corpus()
    training = training_cells(c, 0)
    measured = np.unique(s.rows[s.rows >= 0])
    batch = batch_of(c, 0, training)
    rows = genes_of(batch.queries, s)
    frequency = (by_gene(s)[training] > 0).mean(axis=0)
    everywhere = (frequency + (by_gene(SETS[2])[training_cells(c, 2)] > 0).mean(axis=0)) / 2
    one = np.isin(np.arange(40), SETS[2].rows)
    everywhere = np.where(one, everywhere, frequency)
    for found, p, n in ((batch.offsets, frequency, len(training)), (batch.global_offsets, everywhere, c.sizes().sum())):
        p = np.clip(p, 0.5 / n, 1 - 0.5 / n)
        mean = p[measured].mean()
        np.testing.assert_allclose(found, np.log(p / (1 - p) / (mean / (1 - mean)))[rows], rtol=1e-4, atol=1e-5)


# Data on disk


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> list[TrainingSet]:
    return on_disk(SETS, tmp_path_factory.mktemp("corpus"))


def test_a_buffer_that_holds_everything_gives_the_batches_of_data_in_memory(disk):
    memory, stored = corpus(held_out=0.2), corpus(disk, held_out=0.2)
    assert stored.description == memory.description
    np.testing.assert_array_equal(stored._frequency()[0], memory._frequency()[0])
    for step in (0, 7):
        assert_same_batch(*(sample(c, 20, step, step) for c in (memory, stored)))
    assert_same_batch(*(c.validation(1, np.random.default_rng(0), n_cells=5) for c in (memory, stored)))


def test_a_small_buffer_draws_only_training_cells_and_the_same_ones_after_a_jump(disk):
    args = {"held_out": 0.2, "block_rows": 4, "buffer_cells": 24, "batch_size": 20}
    walked, jumped = corpus(disk, **args), corpus(disk, **args)
    walked.plan(40, np.random.default_rng(0))
    assert not any(rows._blocks for rows in walked._rows)  # without a step nothing is read
    seen = [set() for _ in SETS]
    for step in range(120):
        plan = walked.plan(20, np.random.default_rng(step), step=step)
        assert sum(len(rows._blocks) for rows in walked._rows) * 4 <= 24
        for k, cell in zip(plan.sets, plan.cells, strict=True):
            seen[k].add(int(cell))
    assert_same_batch(walked.draw(plan), sample(jumped, 20, 119, 119))
    for k in range(3):
        training = set(training_cells(walked, k).tolist())
        assert seen[k] <= training
        assert len(seen[k]) > 0.95 * len(training)


def test_data_sets_are_identified_by_shape_counts_genes_and_table():
    def description(s: TrainingSet) -> dict:
        return corpus([s]).description[0]

    s = SETS[0]
    more = s.counts.copy()
    more.data[0] += 1
    genes = s.rows.copy()
    genes[[0, 1]] = genes[[1, 0]]
    base = description(s)
    assert base == description(replace(s, counts=s.counts.copy()))
    assert (base["shape"], base["counts"]) == (list(s.counts.shape), s.counts.sum())
    changes = (
        {"name": "x"}, {"counts": more}, {"counts": s.counts[:-1]}, {"rows": genes}, {"table": toy_table(40, 5, seed=9)}
    )  # fmt: skip
    changed = [{k for k, v in description(replace(s, **c)).items() if v != base[k]} for c in changes]
    assert changed[:2] == [{"name"}, {"counts"}]
    assert changed[2] >= {"shape"}
    assert changed[3:] == [{"genes"}, {"genes", "table"}]


# Invalid arguments

COUNTS, ROWS = toy_counts(5, 6), np.arange(6, dtype=np.int32)


def bad(counts, rows=ROWS) -> list[TrainingSet]:
    return [TrainingSet("bad", counts, rows, ONE)]


def outside(kind: str) -> sp.spmatrix:
    """Counts, the first of whose indices leads out of the matrix."""
    counts = COUNTS.asformat(kind, copy=True)
    counts.indices[0] = 10**6
    return counts


@pytest.mark.parametrize(
    "sets, changes, message",
    [
        pytest.param([], {}, "sets is empty", id="no data set"),
        pytest.param(SETS, {"n_sample": 126}, "n_sample=126 must be between 1 and 125", id="too many draws"),
        pytest.param(SETS, {"held_out_sets": ["x"]}, "held_out_sets names x, but the data sets", id="unknown"),
        pytest.param(SETS, {"held_out_sets": ["first", "second", "third"]}, "All data sets are held out", id="all"),
        pytest.param([SETS[0], SETS[0]], {}, "Several data sets are named first", id="one name twice"),
        pytest.param(bad(COUNTS, ROWS[:4]), {}, "'bad' has 6 variables, but rows has 4 entries", id="rows"),
        pytest.param(bad(COUNTS * 0.3), {}, "The data set 'bad' holds values that are not whole", id="not counts"),
        pytest.param(bad(-COUNTS), {}, "The data set 'bad' holds negative values", id="negative"),
        pytest.param(bad(COUNTS, np.full(6, -1)), {}, "'bad' has no cell to train on", id="no gene"),
        pytest.param(bad(outside("csr")), {}, "'bad' cannot be read: The index 1000000 is outside", id="csr outside"),
        pytest.param(bad(outside("csc")), {}, "'bad' cannot be read: The index 1000000 is outside", id="csc outside"),
        pytest.param(bad(COUNTS * 0), {}, "'bad' has no cell to train on", id="no count"),
    ],
)
def test_invalid_data_sets_raise(sets, changes, message):
    with pytest.raises(ValueError, match=message):
        corpus(sets, **changes)


def test_a_buffer_that_cannot_hold_a_block_of_each_data_set_raises(disk):
    with pytest.raises(ValueError, match="buffer_cells=20 cannot hold a block of block_rows=8 cells of each of the 3"):
        corpus(disk, block_rows=8, buffer_cells=20)

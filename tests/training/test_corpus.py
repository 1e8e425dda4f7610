"""Training batches against a plain reading of the training objective."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

from tests.helpers.toy import toy_counts, toy_table
from univerce.genes.table import CLS, N_SPECIAL, RIGHT, chromosome_index
from univerce.training.corpus import Batch, Corpus, Plan, TrainingSet, _split
from univerce.training.window import OnDisk

ONE, OTHER = toy_table(40, 5, seed=0), toy_table(25, 3, seed=1, species="other")
BASES = {id(ONE): 0, id(OTHER): N_SPECIAL + 40 + 5}
RECIPE = {"n_queries": 12, "mask_fraction": 0.25, "n_sample": 50, "systematic": True, "max_length": 128}
P_VALUE = 1e-4


def training_set(name: str, table, n_cells: int = 60, *, seed: int = 0, rate: float = 1.0) -> TrainingSet:
    """Counts of some genes of the table in random order, one of them measured twice, beside variables of no gene."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(table.n_obs)[: table.n_obs - 4]
    rows = np.concatenate([rows, rows[:1], [-1, -1]]).astype(np.int32)
    return TrainingSet(name, toy_counts(n_cells, len(rows), seed=seed, rate=rate), rows, table)


SETS = [
    training_set("first", ONE, seed=1),
    training_set("second", OTHER, seed=2),
    training_set("third", ONE, seed=3, rate=0.2),
]


def corpus(sets=SETS, **changes) -> Corpus:
    return Corpus(sets, **(RECIPE | changes))


def by_gene(s: TrainingSet) -> np.ndarray:
    """``[n_cells, n_genes]`` counts in the rows of the table."""
    out = np.zeros((s.counts.shape[0], s.table.n_obs))
    for column, row in zip(s.counts.toarray().T, s.rows, strict=True):
        if row >= 0:
            out[:, row] += column
    return out


def batch_of(c: Corpus, part: int, cells, seed: int = 0) -> Batch:
    """A batch of known cells."""
    return c.draw(plan_of([part] * len(cells), cells, seed))


def plan_of(parts, cells, seed: int = 0) -> Plan:
    """A plan of known cells."""
    keys = np.random.default_rng(seed).integers(2**64, size=len(cells), dtype=np.uint64)
    return Plan(np.asarray(parts), np.asarray(cells), keys)


def genes_of(tokens, s: TrainingSet) -> list[int]:
    """Rows of the table from tokens of the vocabulary; a token that is no gene of this table raises."""
    rows = np.asarray(tokens) - BASES[id(s.table)] - N_SPECIAL
    if ((rows < 0) | (rows >= s.table.n_obs)).any():
        raise ValueError("not a gene of this species")
    return rows.tolist()


def sentence_genes(ids, s: TrainingSet) -> list[int]:
    """Rows of the table in a sentence, whose structure is checked on the way."""
    base, n = BASES[id(s.table)], s.table.n_obs
    local = np.asarray(ids) - base
    assert local[0] == CLS
    chromosome, start = chromosome_index(s.table), s.table.obs["start"].to_numpy()
    genes: list[int] = []
    for group in np.split(local[1:], np.flatnonzero(local[1:] == RIGHT) + 1)[:-1]:
        rows = group[1:-1] - N_SPECIAL
        assert (chromosome[rows] == group[0] - N_SPECIAL - n).all()
        assert (np.diff(start[rows]) >= 0).all()
        genes += rows.tolist()
    assert local[-1] == RIGHT
    return genes


@pytest.mark.parametrize("part", [pytest.param(i, id=s.name) for i, s in enumerate(SETS)])
def test_cells_are_masked_sampled_and_queried_as_the_objective_says(part):
    s, c = SETS[part], corpus()
    counts, measured = by_gene(s), set(s.rows[s.rows >= 0].tolist())
    cells = c._parts[part].training
    batch = batch_of(c, part, cells)
    fewer_masked_than_asked = False
    for i, cell in enumerate(cells):
        expressed = set(np.flatnonzero(counts[cell]).tolist())
        kept = genes_of(batch.bag[i].indices, s)
        masked = expressed - set(kept)
        assert len(kept) == len(set(kept))
        assert set(kept) <= expressed
        assert len(masked) == min(max(round(0.25 * len(expressed)), 1), len(expressed) - 1)
        np.testing.assert_array_equal(batch.bag[i].data, counts[cell, kept])

        sentence = Counter(sentence_genes(batch.ids[i, : batch.lengths[i]], s))
        assert (batch.ids[i, batch.lengths[i] :] == 0).all()
        share = np.log1p(counts[cell, kept]) / np.log1p(counts[cell, kept]).sum()
        assert set(sentence) <= set(kept)
        assert all(abs(sentence[g] - 50 * p) < 1 + 1e-6 for g, p in zip(kept, share, strict=True))

        asked, silent = genes_of(batch.queries[i, :6], s), genes_of(batch.queries[i, 6:], s)
        assert set(asked) <= masked
        assert set(silent) <= measured - expressed
        assert len(set(asked)) == 6 if len(masked) >= 6 else len(set(asked)) <= len(masked)
        assert len(set(silent)) == 6 or len(measured - expressed) < 6
        fewer_masked_than_asked |= len(masked) < 6
    assert fewer_masked_than_asked


def test_offsets_are_the_log_odds_of_a_gene_against_the_mean_gene():
    s, c = SETS[0], corpus()
    training = c._parts[0].training
    measured = np.unique(s.rows[s.rows >= 0])
    frequency = np.clip((by_gene(s)[training] > 0).mean(axis=0), 0.5 / len(training), 1 - 0.5 / len(training))
    odds, mean = frequency / (1 - frequency), frequency[measured].mean()
    batch = batch_of(c, 0, training)
    rows = genes_of(batch.queries.ravel(), s)
    np.testing.assert_allclose(batch.offsets.ravel(), np.log(odds[rows] / (mean / (1 - mean))), rtol=1e-4, atol=1e-5)


def test_species_share_a_vocabulary_without_a_clash():
    c = corpus()
    assert len(c.features) == (4 + 40 + 5) + (4 + 25 + 3)  # the table of two sets is there once
    for part, s in enumerate(SETS):
        base = BASES[id(s.table)]
        batch = batch_of(c, part, c._parts[part].training)
        used = np.unique(np.concatenate([batch.ids[batch.ids > 0], batch.queries.ravel(), batch.bag.indices]))
        assert base < used.min()
        assert used.max() < base + N_SPECIAL + s.table.n_obs + len(s.table.uns["chromosome_codes"])
        np.testing.assert_array_equal(c.features[base : base + 4], s.table.uns["special_features"])
        np.testing.assert_array_equal(c.features[base + 4 : base + 4 + s.table.n_obs], s.table.X)
        np.testing.assert_array_equal(
            c.features[base + 4 + s.table.n_obs :][: len(s.table.uns["chromosome_codes"])],
            s.table.uns["chromosome_features"],
        )
    assert not c.features[0].any()  # PAD


def test_a_batch_of_several_species_keeps_each_cell_together():
    c = corpus()
    cells = [*c._parts[0].training[:4], *c._parts[1].training[:3]]
    batch = c.draw(plan_of([0] * 4 + [1] * 3, cells))
    assert batch.sets.tolist() == [0] * 4 + [1] * 3
    assert batch.ids.shape == (7, batch.lengths.max())
    assert batch.bag.shape == (7, len(c.features))
    for i, s in enumerate([SETS[0]] * 4 + [SETS[1]] * 3):
        kept = set(genes_of(batch.bag[i].indices, s))
        assert set(sentence_genes(batch.ids[i, : batch.lengths[i]], s)) <= kept
        assert not kept & set(genes_of(batch.queries[i], s))


def single_cell(n_expressed: int, n_measured: int = 30, n_copies: int = 1) -> TrainingSet:
    """Copies of a cell with counts in the first genes, among as many measured ones."""
    counts = np.zeros((n_copies, n_measured), dtype=np.float32)
    counts[:, :n_expressed] = 2
    return TrainingSet("single", sp.csr_matrix(counts), np.arange(n_measured, dtype=np.int32), ONE)


@pytest.mark.parametrize(
    "n_expressed, n_masked",
    [
        pytest.param(2, 1, id="of two genes one is masked"),
        pytest.param(3, 1, id="at least one is masked"),
        pytest.param(10, 2, id="a quarter, rounded to even"),
        pytest.param(23, 6, id="as many as are asked for"),
        pytest.param(24, 6, id="as many silent genes as are asked for"),
        pytest.param(25, 6, id="one silent gene too few"),
        pytest.param(29, 7, id="a single silent gene"),
    ],
)
def test_queries_repeat_only_when_there_are_too_few_genes(n_expressed, n_masked):
    s = single_cell(n_expressed)
    batch = batch_of(corpus([s], held_out=0), 0, np.zeros(200, dtype=int))
    for i in range(200):
        masked = set(range(n_expressed)) - set(genes_of(batch.bag[i].indices, s))
        assert len(masked) == n_masked
        asked, silent = genes_of(batch.queries[i, :6], s), genes_of(batch.queries[i, 6:], s)
        assert set(asked) <= masked
        assert set(silent) <= set(range(n_expressed, 30))
        assert len(set(asked)) == 6 or n_masked < 6
        assert len(set(silent)) == 6 or 30 - n_expressed < 6


def test_every_gene_is_as_likely_to_be_masked_asked_or_silent():
    s = single_cell(12)
    batch = batch_of(corpus([s], held_out=0, n_queries=4), 0, np.zeros(1500, dtype=int))
    kept = Counter(genes_of(batch.bag.indices, s))
    asked, silent = (
        Counter(genes_of(batch.queries[:, :2].ravel(), s)),
        Counter(genes_of(batch.queries[:, 2:].ravel(), s)),
    )
    for seen, genes in ((kept, range(12)), (asked, range(12)), (silent, range(12, 30))):
        assert stats.chisquare([seen[g] for g in genes]).pvalue > P_VALUE
    assert sum(kept.values()) == 1500 * 9


def test_multinomial_and_systematic_sentences_differ_in_spread_alone():
    s = single_cell(8)
    spread = {}
    for systematic in (True, False):
        batch = batch_of(corpus([s], held_out=0, systematic=systematic), 0, np.zeros(400, dtype=int))
        genes = [Counter(sentence_genes(batch.ids[i, : batch.lengths[i]], s)) for i in range(400)]
        copies = np.array([n for seen in genes for n in seen.values()])
        assert copies.sum() == 400 * 50
        spread[systematic] = copies.std()
    assert spread[True] < 0.6 < 1.5 < spread[False]


# Which cells


def test_cells_that_leave_nothing_to_ask_are_left_out():
    counts = np.array([[0, 0, 0, 9], [1, 0, 0, 9], [1, 1, 0, 9], [1, 2, 3, 0], [0, 4, 4, 0]], dtype=np.float32)
    rows = np.array([3, 1, 2, -1], dtype=np.int32)
    c = corpus([TrainingSet("some", sp.csr_matrix(counts), rows, ONE)], held_out=0)
    assert c._parts[0].training.tolist() == [2, 4]  # without counts, with one gene, and with all genes measured


def test_stored_zeros_are_no_counts():
    dense = toy_counts(30, 20, seed=5)
    stored = sp.csr_matrix((dense.toarray().ravel(), np.tile(np.arange(20), 30), np.arange(0, 601, 20)), shape=(30, 20))
    assert stored.nnz == 600 > dense.nnz
    rows = np.arange(20, dtype=np.int32)
    one, other = (corpus([TrainingSet("set", x, rows, ONE)]) for x in (dense, stored))
    np.testing.assert_array_equal(one._parts[0].training, other._parts[0].training)
    cells = one._parts[0].training
    for field in ("ids", "lengths", "queries", "offsets"):
        np.testing.assert_array_equal(
            getattr(batch_of(one, 0, cells), field), getattr(batch_of(other, 0, cells), field)
        )


def test_cells_are_split_once_and_the_same_way_for_a_seed():
    c, again, other = corpus(held_out=0.2), corpus(held_out=0.2), corpus(held_out=0.2, seed=1)
    for part, s in enumerate(SETS):
        training, validation = c._parts[part].training, c._parts[part].validation
        usable = np.flatnonzero(((n := (by_gene(s) > 0).sum(1)) >= 2) & (n < len(np.unique(s.rows)) - 1))
        assert sorted([*training, *validation]) == usable.tolist()
        assert len(validation) == round(0.2 * len(usable))
        np.testing.assert_array_equal(again._parts[part].validation, validation)
    assert any(not np.array_equal(a.validation, b.validation) for a, b in zip(c._parts, other._parts, strict=True))
    assert c.sizes().tolist() == [len(p.training) for p in c._parts]
    assert c.sizes(validation=True).tolist() == [len(p.validation) for p in c._parts]


def test_a_batch_follows_from_the_generator_alone():
    one, other = (corpus().sample(16, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.queries, other.queries)
    assert not np.array_equal(one.queries, corpus().sample(16, np.random.default_rng(4)).queries)


def test_data_sets_are_picked_by_size_to_the_temperature():
    sets = [training_set("large", ONE, 400, seed=1), training_set("small", OTHER, 25, seed=2)]
    c = corpus(sets)
    weight = c.sizes() ** 0.5
    batch = c.sample(2000, np.random.default_rng(0), temperature=0.5)
    from_large = int((batch.ids[:, 0] == CLS).sum())  # the other species has a CLS token of its own
    assert stats.binomtest(from_large, 2000, weight[0] / weight.sum()).pvalue > P_VALUE


def test_whole_cells_are_training_cells_with_all_their_genes_and_none_twice():
    sets = [*SETS, training_set("small", ONE, 12, seed=4), training_set("unseen", OTHER, seed=5)]
    c = corpus(sets, held_out=0.2, held_out_sets=["unseen"])
    counts, of_set = c.whole_cells(4 * 20, np.random.default_rng(0))
    assert np.unique(of_set, return_counts=True)[1].tolist() == [min(20, n) for n in c.sizes()[:4]]
    for part, s in enumerate(sets[:4]):
        first = BASES[id(s.table)] + N_SPECIAL
        found = counts[of_set == part]
        assert found.sum() == found[:, first : first + s.table.n_obs].sum()
        training = by_gene(s)[c._parts[part].training].tolist()
        for cell in found[:, first : first + s.table.n_obs].toarray().tolist():
            training.remove(cell)  # raises for one that is not there, or no more
    again, _ = c.whole_cells(4 * 20, np.random.default_rng(0))
    assert (again != counts).nnz == 0


def test_validation_cells_are_held_out_cells():
    c = corpus(held_out=0.3)
    batch = c.validation(1, np.random.default_rng(0), n_cells=5)
    assert len(batch.lengths) == 5
    assert len(c.validation(1, np.random.default_rng(0), n_cells=10_000).lengths) == c.sizes(validation=True)[1]
    counts = by_gene(SETS[1])
    profiles = {tuple(np.flatnonzero(counts[cell])) for cell in c._parts[1].validation}
    for i in range(5):  # every kept gene and every silent gene fits at least one of the held-out cells
        kept, silent = set(genes_of(batch.bag[i].indices, SETS[1])), set(genes_of(batch.queries[i, 6:], SETS[1]))
        assert any(kept < set(p) and not silent & set(p) for p in profiles)


def test_token_frequency_is_the_mean_over_the_data_sets_and_the_species_with_a_gene_of_the_name():
    other = OTHER.copy()
    other.obs["symbol"] = [symbol.lower() for symbol in ONE.obs["symbol"].iloc[:20]] + [""] * 5
    sets = [SETS[0], replace(SETS[1], table=other), SETS[2]]
    c = corpus(sets)
    by_name: dict[str, list[float]] = {}
    for table in (ONE, other):
        for row in range(table.n_obs):
            shares = [
                (by_gene(s)[c._parts[k].training, row] > 0).mean()
                for k, s in enumerate(sets)
                if s.table is table and row in s.rows
            ]
            if shares:
                by_name.setdefault(name_of(table, row), []).append(np.mean(shares))
    assert sum(len(shares) == 2 for shares in by_name.values()) > 5
    expected = np.zeros(len(c.features))
    for base, table in ((0, ONE), (BASES[id(OTHER)], other)):
        for row in range(table.n_obs):
            expected[base + N_SPECIAL + row] = np.mean(by_name.get(name_of(table, row), [0]))
    np.testing.assert_allclose(c.token_frequency(), expected, atol=1e-12)


def name_of(table, row: int) -> str:
    return (table.obs["symbol"].iloc[row] or table.obs["ensembl_id"].iloc[row]).upper()


# Arguments


@pytest.mark.parametrize(
    "changes, message",
    [
        pytest.param({"n_queries": 7}, "n_queries=7 must be even", id="odd number of queries"),
        pytest.param({"n_queries": 0}, "n_queries=0 must be even", id="no queries"),
        pytest.param({"mask_fraction": 0.0}, "mask_fraction=0.0 must lie between", id="nothing masked"),
        pytest.param({"mask_fraction": 1.0}, "mask_fraction=1.0 must lie between", id="everything masked"),
        pytest.param({"held_out": 1.0}, "held_out=1.0 must be at least 0 and below 1", id="everything held out"),
        pytest.param({"n_sample": 126}, "n_sample=126 must be between 1 and 125", id="too many draws"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        corpus(**changes)


def test_no_data_set_is_refused():
    with pytest.raises(ValueError, match="There is no data set to train on"):
        corpus([])


COUNTS, ROWS = toy_counts(5, 6), np.arange(6, dtype=np.int32)


@pytest.mark.parametrize(
    "counts, rows, message",
    [
        pytest.param(
            COUNTS, ROWS[:4], "'bad' has 6 columns and rows of the table for 4 of them", id="columns and rows"
        ),
        pytest.param(COUNTS * 0.3, ROWS, "The data set 'bad' holds values that are not whole", id="no counts"),
        pytest.param(-COUNTS, ROWS, "The data set 'bad' holds negative values", id="negative"),
        pytest.param(COUNTS, np.full(6, -1), "'bad' has no cell to train on", id="no gene of the table"),
        pytest.param(COUNTS * 0, ROWS, "'bad' has no cell to train on", id="no count"),
    ],
)
def test_a_data_set_that_cannot_be_trained_on_is_refused_by_name(counts, rows, message):
    with pytest.raises(ValueError, match=message):
        corpus([TrainingSet("bad", counts, rows, ONE)])


# Data on disk


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory) -> list[TrainingSet]:
    """The sets with their counts in files."""
    directory = tmp_path_factory.mktemp("corpus")
    sets = []
    for s in SETS:
        path = directory / f"{s.name}.h5ad"
        ad.AnnData(s.counts).write_h5ad(path)
        sets.append(replace(s, counts=OnDisk(path, "X")))
    return sets


def assert_same_batch(one: Batch, other: Batch) -> None:
    for field in ("sets", "ids", "lengths", "queries", "offsets", "global_offsets"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)
    assert (one.bag != other.bag).nnz == 0


def test_a_buffer_that_holds_everything_gives_the_batches_of_data_in_memory(on_disk):
    memory, disk = corpus(held_out=0.2), corpus(on_disk, held_out=0.2)
    assert disk.describe() == memory.describe()
    np.testing.assert_array_equal(disk.token_frequency(), memory.token_frequency())
    for step in (0, 7):
        assert_same_batch(
            *(c.sample(20, np.random.default_rng(step), step=step) for c in (memory, disk))
        )  # fmt: skip
    for part in range(3):
        assert_same_batch(*(c.validation(part, np.random.default_rng(0), n_cells=5) for c in (memory, disk)))


def test_a_small_buffer_draws_training_cells_alone_and_the_same_ones_after_a_jump(on_disk):
    args = {"held_out": 0.2, "block_rows": 4, "buffer_cells": 24, "cells_per_step": 20}
    walked, jumped = corpus(on_disk, **args), corpus(on_disk, **args)
    seen = [set() for _ in SETS]
    for step in range(120):
        plan = walked.plan(20, np.random.default_rng(step), step=step)
        assert sum(len(rows._blocks) for rows in walked._rows) * 4 <= 24
        for k, cell in zip(plan.sets, plan.cells, strict=True):
            seen[k].add(int(cell))
    batch = walked.draw(plan)
    assert_same_batch(batch, jumped.draw(jumped.plan(20, np.random.default_rng(119), step=119)))
    for k, part in enumerate(walked._parts):
        assert seen[k] <= set(part.training.tolist())
        assert len(seen[k]) > 0.95 * len(part.training)


def test_without_a_step_cells_are_drawn_that_are_always_in_memory(on_disk):
    c = corpus(on_disk, block_rows=4, buffer_cells=24)
    c.draw(c.plan(40, np.random.default_rng(0)))
    assert not any(rows._blocks for rows in c._rows)


def test_a_buffer_that_cannot_hold_a_block_of_each_data_set_is_refused(on_disk):
    with pytest.raises(ValueError, match="buffer_cells=20 cannot hold a block of block_rows=8 cells of each of the 3"):
        corpus(on_disk, block_rows=8, buffer_cells=20)


# Which data sets


def test_data_sets_are_known_by_shape_counts_genes_and_table():
    def description(s: TrainingSet) -> dict:
        return corpus([s]).describe()[0]

    s = SETS[0]
    more = s.counts.copy()
    more.data[0] += 1
    genes = s.rows.copy()
    genes[[0, 1]] = genes[[1, 0]]
    table = toy_table(40, 5, seed=9)
    base = description(s)
    assert base == description(replace(s, counts=s.counts.copy()))
    assert base["shape"] == list(s.counts.shape)
    assert base["counts"] == s.counts.sum()
    changes = ({"name": "x"}, {"counts": more}, {"counts": s.counts[:-1]}, {"rows": genes}, {"table": table})
    changed = [{k for k, v in description(replace(s, **c)).items() if v != base[k]} for c in changes]
    assert changed[:2] == [{"name"}, {"counts"}]
    assert changed[2] >= {"shape"}
    assert changed[3:] == [{"genes"}, {"genes", "table"}]


def test_copies_of_a_gene_table_are_in_the_vocabulary_once():
    copies = [replace(s, table=s.table.copy()) for s in SETS]
    np.testing.assert_array_equal(corpus(copies).features, corpus().features)
    assert_same_batch(*(corpus(s).sample(9, np.random.default_rng(0)) for s in (SETS, copies)))


def test_a_data_set_that_is_held_out_is_never_trained_on_nor_counted_in_the_global_frequency():
    c, without = corpus(held_out_sets=["third"], held_out=0.1), corpus(SETS[:2], held_out=0.1)
    assert c.is_held_out.tolist() == [False, False, True]
    assert c.sizes()[2] == 0
    n_usable = len(c._parts[2].training) + len(c._parts[2].validation)
    assert c.sizes(validation=True)[2] == round(0.5 * n_usable)
    assert set(c.plan(3000, np.random.default_rng(0)).sets) == {0, 1}
    np.testing.assert_array_equal(c.token_frequency(), without.token_frequency())


@pytest.mark.parametrize(
    "names, message",
    [
        (["fourth"], "held_out_sets names fourth, but the data sets are first, second, third"),
        (["first", "second", "third"], "All data sets are held out"),
    ],
    ids=["unknown", "all"],
)
def test_data_sets_that_cannot_be_held_out_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        corpus(held_out_sets=names)


def test_two_data_sets_of_one_name_are_refused():
    with pytest.raises(ValueError, match="Two data sets are named first"):
        corpus([SETS[0], replace(SETS[1], name="first")])


def test_the_data_sets_of_a_step_share_its_cells_evenly():
    c = corpus()
    picked = np.zeros(3)
    for seed in range(300):
        plan = c.plan(12, np.random.default_rng(seed), sets_per_step=3)
        n = np.bincount(plan.sets, minlength=3)
        assert n.sum() == 12
        assert not (n % 4).any()
        assert (np.diff(plan.sets) >= 0).all()
        picked += n / 4
    weight = c.sizes() ** 0.7
    assert stats.chisquare(picked, 900 * weight / weight.sum()).pvalue > P_VALUE


def test_the_shares_of_a_plan_are_the_plan_and_their_batches_the_batch():
    c = corpus()
    plan = c.plan(12, np.random.default_rng(0))
    whole, parts = c.draw(plan), [c.draw(plan.share(i, 3)) for i in range(3)]
    for field in ("sets", "lengths", "queries", "offsets"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, field) for p in parts]), getattr(whole, field))
    assert (sp.vstack([p.bag for p in parts]) != whole.bag).nnz == 0


# The frequency of genes


def test_global_offsets_are_log_odds_by_the_frequency_in_all_data_sets_of_the_species():
    c = corpus()
    n = c.sizes().sum()
    token_frequency, _ = c._token_frequency()
    batch = batch_of(c, 0, c._parts[0].training)
    measured = np.unique(SETS[0].rows[SETS[0].rows >= 0]) + BASES[id(ONE)] + N_SPECIAL
    p = np.clip(token_frequency, 0.5 / n, 1 - 0.5 / n)
    mean = p[measured].mean()
    expected = np.log(p[batch.queries] / (1 - p[batch.queries])) - np.log(mean / (1 - mean))
    np.testing.assert_allclose(batch.global_offsets, expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(batch.global_offsets, batch.offsets)


def test_genes_that_no_training_set_measures_have_no_global_offset():
    c = corpus(held_out_sets=["second"], held_out=0.1)  # the only one of its species
    assert not c.validation(1, np.random.default_rng(0), n_cells=5).global_offsets.any()


# Ablations of the sentence


def sentences(seed: int = 0, **changes) -> Batch:
    c = corpus(**changes)
    return batch_of(c, 0, c._parts[0].training, seed)


def test_shuffling_permutes_the_genes_of_a_sentence_over_their_places():
    plain, shuffled = sentences(), sentences(shuffled=True)
    is_gene = (plain.ids >= N_SPECIAL) & (plain.ids < N_SPECIAL + 40)
    np.testing.assert_array_equal((shuffled.ids >= N_SPECIAL) & (shuffled.ids < N_SPECIAL + 40), is_gene)
    np.testing.assert_array_equal(shuffled.ids[~is_gene], plain.ids[~is_gene])
    np.testing.assert_array_equal(shuffled.queries, plain.queries)
    moved = 0
    for i in range(len(plain.ids)):
        assert Counter(shuffled.ids[i][is_gene[i]]) == Counter(plain.ids[i][is_gene[i]])
        moved += (shuffled.ids[i] != plain.ids[i]).sum()
    assert moved > 0.8 * is_gene.sum()


def test_every_order_of_the_genes_is_as_likely():
    s = replace(single_cell(4), counts=sp.csr_matrix(np.eye(1, 30, 0) * 0 + (np.arange(30) < 4) * 1.0))
    c = corpus([s], held_out=0, n_sample=3, shuffled=True)  # one of four is masked; systematic: each other once
    batch = batch_of(c, 0, np.zeros(3000, dtype=int))
    is_gene = (batch.ids >= N_SPECIAL) & (batch.ids < N_SPECIAL + 40)
    orders = Counter(tuple(np.argsort(row[keep])) for row, keep in zip(batch.ids, is_gene, strict=True))
    assert len(orders) == 6
    assert stats.chisquare(list(orders.values())).pvalue > P_VALUE


def test_without_chromosome_tokens_a_sentence_has_its_genes_alone():
    plain, without = sentences(), sentences(chromosome_tokens=False)
    for i in range(len(plain.ids)):
        genes = [t for t in plain.ids[i] if N_SPECIAL <= t < N_SPECIAL + 40]
        assert without.ids[i, : without.lengths[i]].tolist() == [CLS, *genes]
        assert not without.ids[i, without.lengths[i] :].any()


# Hard negatives


def frequent_first(n_cells: int = 200) -> TrainingSet:
    """Two genes that all cells express and others of falling frequency."""
    rng = np.random.default_rng(5)
    p = np.concatenate([[1, 1], np.geomspace(0.9, 0.02, 18)])
    counts = (rng.random((n_cells, 20)) < p).astype(np.float32)
    counts[0] = np.arange(20) < 2  # all other genes are without a count in the first cell
    return TrainingSet("frequent", sp.csr_matrix(counts), np.arange(20, dtype=np.int32), ONE)


def test_hard_negatives_are_drawn_by_frequency_without_replacement():
    s = frequent_first()
    c = corpus([s], held_out=0, n_queries=6, hard_negatives=True)
    batch = batch_of(c, 0, np.zeros(20_000, dtype=int))
    silent = batch.queries[:, 3:] - N_SPECIAL
    assert (silent >= 2).all()
    assert all(len(set(row)) == 3 for row in silent.tolist())
    weight = (s.counts.toarray()[:, 2:] > 0).mean(axis=0).clip(0.5 / 200, 1 - 0.5 / 200)
    weight /= weight.sum()
    # The chance that a gene is among three drawn one after the other by their weight, from all ordered triples.
    i, j, k = np.ix_(*[range(18)] * 3)
    chance = weight[i] * weight[j] / (1 - weight[i]) * weight[k] / (1 - weight[i] - weight[j])
    chance = np.where((i != j) & (i != k) & (j != k), chance, 0)
    expected = chance.sum(axis=(1, 2)) + chance.sum(axis=(0, 2)) + chance.sum(axis=(0, 1))
    assert expected.sum() == pytest.approx(3)
    seen = np.bincount(silent.ravel() - 2, minlength=18) / len(silent)
    error = np.sqrt(expected * (1 - expected) / len(silent))
    assert (np.abs(seen - expected) < 5 * error).all()


def test_too_few_hard_negatives_are_drawn_with_replacement_by_frequency():
    s = frequent_first()
    c = corpus([s], held_out=0, n_queries=60, hard_negatives=True)
    silent = batch_of(c, 0, np.zeros(1000, dtype=int)).queries[:, 30:] - N_SPECIAL - 2
    weight = (s.counts.toarray()[:, 2:] > 0).mean(axis=0).clip(0.5 / 200, 1 - 0.5 / 200)
    seen = np.bincount(silent.ravel(), minlength=18)
    assert stats.chisquare(seen, seen.sum() * weight / weight.sum()).pvalue > P_VALUE


def test_with_hard_negatives_the_offset_is_calibrated_to_them_and_validation_stays_as_it_was():
    hard, plain = corpus(hard_negatives=True, held_out=0.2), corpus(held_out=0.2)
    assert_same_batch(*(c.validation(0, np.random.default_rng(0), n_cells=9) for c in (hard, plain)))
    batch = batch_of(hard, 0, hard._parts[0].training)
    s = SETS[0]
    p = (by_gene(s)[hard._parts[0].training] > 0).mean(axis=0)
    p = p.clip(0.5 / len(batch.ids), 1 - 0.5 / len(batch.ids))
    measured = np.unique(s.rows[s.rows >= 0])
    asked, silent = p / p[measured].sum(), p * (1 - p) / (p * (1 - p))[measured].sum()
    rows = genes_of(batch.queries.ravel(), s)
    np.testing.assert_allclose(batch.offsets.ravel(), np.log(asked / silent)[rows], rtol=1e-4, atol=1e-5)


# Views


def test_two_views_share_no_count_and_each_lacks_three_tenths_of_its_genes():
    s = training_set("poor", ONE, 300, seed=4, rate=0.1)
    c = corpus([s])
    cells = c._parts[0].training
    plan = plan_of([0] * len(cells), cells)
    counts = by_gene(s)[cells]
    views = c.views(plan)
    halves = [
        x.toarray() @ np.eye(s.table.n_obs + 1)[np.where(s.rows >= 0, s.rows, s.table.n_obs)]
        for x in _split(s.counts[cells], plan.keys)
    ]
    np.testing.assert_array_equal(halves[0][:, :-1] + halves[1][:, :-1], counts)
    base = BASES[id(s.table)] + N_SPECIAL
    for view, half in zip(views, halves, strict=True):
        kept = view.bag.toarray()[:, base : base + s.table.n_obs]
        n = (half[:, :-1] > 0).sum(axis=1)
        expected_drop = np.where(n > 1, np.clip(np.round(0.3 * n), 1, n - 1), 0)
        np.testing.assert_array_equal(n - (kept > 0).sum(axis=1), expected_drop)
        assert ((kept == half[:, :-1]) | (kept == 0)).all()
        assert view.queries.shape == (len(cells), 0)
        for i in np.flatnonzero(n):
            assert set(sentence_genes(view.ids[i, : view.lengths[i]], s)) == set(np.flatnonzero(kept[i]))
        for i in np.flatnonzero(n == 0):
            assert view.ids[i, : view.lengths[i]].tolist() == [CLS]
    assert (halves[0][:, :-1].sum(axis=1) == 0).any()  # some cells have so few counts


def test_the_share_of_a_view_is_even_between_its_bounds():
    counts = sp.csr_matrix(np.full((2000, 4), 10_000.0))
    keys = np.random.default_rng(0).integers(2**64, size=2000, dtype=np.uint64)
    one, other = (x.sum(axis=1).A1 if hasattr(x.sum(axis=1), "A1") else x.sum(axis=1) for x in _split(counts, keys))
    assert (one + other == 40_000).all()
    assert stats.kstest(one / 40_000, stats.uniform(0.15, 0.7).cdf).pvalue > P_VALUE


def test_views_follow_from_the_plan_whichever_process_makes_them():
    c = corpus()
    plan = c.plan(12, np.random.default_rng(0), sets_per_step=3)
    whole, parts = c.views(plan), [c.views(plan.share(i, 3)) for i in range(3)]
    for k in (0, 1):
        assert (sp.vstack([p[k].bag for p in parts]) != whole[k].bag).nnz == 0

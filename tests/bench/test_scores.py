"""Scores of arrays, against scib-metrics and small cases worked by hand."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import pdist
from sklearn.metrics import f1_score
from sklearn.neighbors import NearestNeighbors

import univerce as uc
from tests.helpers.bench_cells import counted_cells
from univerce.bench._bootstrap import (
    Resampling,
    confidence_interval,
    counts_interval,
    interval,
    jackknife,
    resampled_means,
)
from univerce.bench._expression import open_problems_genes, principal_components
from univerce.bench._metrics import batch_ranks, centroid_ranks, macro_f1, pairs_of, rotated, separated
from univerce.bench._result import shares_of_types
from univerce.bench._scib import BATCH, BIO, TOTALS, scib_scores


@pytest.fixture(scope="module")
def cells():
    return counted_cells(150)


def exact_neighbors(x, n_neighbors, **_):
    from scib_metrics.nearest_neighbors import NeighborsResults

    distances, indices = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(x).kneighbors(x)
    return NeighborsResults(indices=indices, distances=distances)


@pytest.fixture
def quick_kbet(monkeypatch):
    """For kBET scib-metrics searches neighbors by pynndescent, whose compilation takes longer than all these tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scib_metrics import nearest_neighbors
    monkeypatch.setattr(nearest_neighbors, "pynndescent", exact_neighbors)


@pytest.mark.usefixtures("quick_kbet")
def test_scib_scores_are_those_of_a_direct_call(cells, caplog):
    adata = counted_cells(150)
    adata.obsm["X_other"] = np.random.default_rng(0).normal(size=(150, 3)).astype(np.float32)  # compiled once
    caplog.set_level(logging.INFO)
    scores = uc.bench.run(adata, groupby="type", batch_key="batch", methods=["X_clear", "X_other"], n_bootstrap=0)
    assert "cell" not in caplog.text  # scib-metrics logs every type that it skips
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scib_metrics.benchmark import Benchmarker

        adata.obsm["before"] = principal_components(adata)
        bench = Benchmarker(
            adata, "batch", "type", ["X_clear", "X_other"], pre_integrated_embedding_obsm_key="before",
            progress_bar=False,
        )  # fmt: skip
        bench.prepare(exact_neighbors)
        bench.benchmark()
        expected = bench.get_results(min_max_scale=False)
    for method in ("X_clear", "X_other"):
        mine = scores[scores["method"] == method].set_index("metric")["value"]
        for name in (*BIO, *BATCH, *TOTALS):
            assert mine[name] == pytest.approx(float(expected.loc[method, name]), abs=2e-5), name
    total = scores.query("method == 'X_clear'").set_index("metric")["value"]
    assert total["Total"] == pytest.approx(0.6 * total[list(BIO)].mean() + 0.4 * total[list(BATCH)].mean())


@pytest.mark.usefixtures("quick_kbet")
def test_cells_on_one_point_have_scores_that_do_not_depend_on_their_order(cells):
    one_hot = np.eye(3, dtype=np.float32)[cells.obs["type"].cat.codes]
    order = np.random.default_rng(0).permutation(150)
    found = [
        scib_scores(
            separated(one_hot[o]), pd.Categorical(cells.obs["type"].to_numpy()[o]),
            pd.Categorical(cells.obs["batch"].to_numpy()[o]), principal_components(cells)[o],
        )
        for o in (np.arange(150), order)
    ]  # fmt: skip
    for name in ("KMeans ARI", "Silhouette label", "cLISI"):
        assert found[0][name] == pytest.approx(1, abs=1e-3)
    assert found[0]["Graph connectivity"] > 0.9
    for name in (*BIO, *TOTALS):
        assert found[0][name] == pytest.approx(found[1][name], abs=0.06), name


@pytest.mark.usefixtures("quick_kbet")
def test_with_one_batch_scib_has_no_total(cells):
    found = scib_scores(cells.obsm["X_clear"], pd.Categorical(cells.obs["type"]), None, principal_components(cells))
    assert set(found) == {*BIO, "Bio conservation"} - {"Isolated labels"}


def test_only_equal_rows_are_moved_and_only_a_little():
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.testing.assert_array_equal(separated(x), x)
    x[10:20] = x[0]
    moved = separated(x)
    assert len(np.unique(moved, axis=0)) == 30
    np.testing.assert_array_equal(moved[np.r_[:10, 20:30]], x[np.r_[:10, 20:30]])
    assert np.abs(moved - x).max() < 1e-3
    assert len(np.unique(separated(np.zeros((5, 2), np.float32)), axis=0)) == 5


def test_a_wide_embedding_is_rotated_and_keeps_its_distances():
    x = np.random.default_rng(0).normal(size=(12, 300)).astype(np.float32)
    assert rotated(x).shape == (12, 12)
    np.testing.assert_allclose(pdist(rotated(x)), pdist(x), rtol=1e-5)
    assert rotated(x.T) is not None
    np.testing.assert_array_equal(rotated(x.T), x.T)


def test_centroids_that_find_their_own_type_are_counted():
    # Reference: a at 0, b at 10, c at 20. Query: a at 1 (nearest a), b at 16 (nearest c, then b), d unknown.
    reference = np.array([[0.0], [10], [20]]), np.array(["a", "b", "c"])
    query = np.array([[0.0], [2], [16], [50]]), np.array(["a", "a", "b", "d"])
    ranks, shared = centroid_ranks(query, reference)
    assert (ranks.tolist(), shared.tolist()) == ([1, 2], ["a", "b"])
    x, y = np.concatenate([query[0], reference[0]]), np.concatenate([query[1], reference[1]])
    ranks, types = batch_ranks(x, y, np.array([0, 0, 0, 0, 1, 1, 1]))
    # Back again: a (0) finds a (1); b (10) finds a (1) at 9 and b (16) at 6.
    assert (ranks.tolist(), types.tolist()) == ([1, 2, 1, 1], ["a", "b", "a", "b"])
    found = shares_of_types(ranks <= 1, types)
    interval = stats.beta.ppf([0.025, 0.975], [1.5, 2.5], [1.5, 0.5])  # Clopper-Pearson of 1.5 of 2 types, not 3 of 4
    assert (found["value"], found["low"], found["high"]) == pytest.approx((3 / 4, *interval))
    ranks, types = batch_ranks(np.zeros((2, 1)), np.array([0, 1]), np.array([0, 1]))  # no shared type
    assert np.isnan(shares_of_types(ranks <= 1, types)["value"])


@pytest.mark.parametrize("by_donor", [True, False])
def test_f1_of_resampled_cells_is_that_of_scikit_learn(by_donor):
    rng = np.random.default_rng(0)
    truth, given, donors = rng.integers(4, size=90), rng.integers(5, size=90), rng.permutation(np.arange(90) % 6)
    truth[donors < 5] %= 3  # a type of one donor, which most draws lack
    a, b, place = pairs_of(truth, given)
    units = donors if by_donor else None
    found = counts_interval(place, lambda counts: macro_f1(a, b, counts), Resampling(200, 3, units, "donor"))
    random, drawn = np.random.default_rng(3), []
    times = random.multinomial(6, np.full(6, 1 / 6), size=200) if by_donor else None
    for i in range(200):
        cells = random.integers(90, size=90) if times is None else np.repeat(np.arange(90), times[i][donors])
        y, z = truth[cells], given[cells]
        drawn.append(f1_score(y, z, labels=np.unique(y), average="macro", zero_division=0))
    estimate = f1_score(truth, given, labels=np.unique(truth), average="macro", zero_division=0)
    assert macro_f1(truth, given).tolist() == pytest.approx([estimate])
    expected = confidence_interval(np.array(drawn), estimate, units)
    assert (found["low"], found["high"]) == pytest.approx(expected)
    assert found["unit"] == ("donor" if by_donor else "cells")


def test_the_jackknife_of_a_mean_is_the_interval_of_student():
    values = np.random.default_rng(0).normal(size=7)
    left_out = np.array([np.delete(values, i).mean() for i in range(7)])
    expected = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert jackknife(left_out, values.mean()) == pytest.approx(expected)


def test_scib_has_intervals_by_leaving_out_each_batch_and_methods_are_compared_by_them(monkeypatch):
    def quick(x, types, batches, before):
        assert len(x) == len(types) == len(batches) == len(before)
        value = float(np.mean([x[types == t].std() for t in types.categories]) / len(batches.categories))
        return dict.fromkeys((*BIO, *BATCH, *TOTALS), value)

    monkeypatch.setattr("univerce.bench._scib.scib_scores", quick)
    adata = counted_cells(180, batches=5)
    adata.obsm["X_other"] = np.random.default_rng(0).normal(size=(180, 6)).astype(np.float32)
    options = {"groupby": "type", "batch_key": "batch", "n_bootstrap": 0}
    scores = uc.bench.run(adata, methods=["X_clear", "X_other"], scib="intervals", **options)
    left_out = adata.uns["benchmark"]["left_out"].set_index(["method", "left_out"])["Total"]
    kept = adata[adata.obs["batch"] != "b3"]
    x, types = kept.obsm["X_clear"], kept.obs["type"].to_numpy()
    expected = np.mean([x[types == t].std() for t in np.unique(types)]) / 4
    assert left_out["X_clear", 3] == pytest.approx(expected)
    totals = scores[scores["metric"] == "Total"].set_index("method")
    for name, row in totals.iterrows():
        assert (row["low"], row["high"]) == pytest.approx(jackknife(left_out[name].to_numpy(), row["value"]))
    row = uc.bench.compare(adata, "X_clear", "X_other").set_index("metric").loc["Total"]
    gap = left_out["X_clear"] - left_out["X_other"]
    assert (row["low"], row["high"]) == pytest.approx(jackknife(gap.to_numpy(), row["difference"]))
    assert row[["winner", "unit", "n_units"]].tolist() == ["X_clear" if row["low"] > 0 else "X_other", "batch", 5]


def test_intervals_spread_like_the_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    half = 1.96 * values.std() / 20
    found = interval(values, 3000, 1)
    np.testing.assert_allclose(found, [values.mean() - half, values.mean() + half], atol=0.01)


def test_strata_are_resampled_separately():
    strata = np.repeat([0, 1], [3, 300])
    values = np.where(strata == 0, 5.0, 1.0)  # constant in each
    assert interval(values, 20, 0, strata) == (3.0, 3.0)


def test_resampled_donors_keep_all_their_cells():
    rng = np.random.default_rng(0)
    units, strata, values = rng.integers(6, size=80), rng.integers(3, size=80), rng.normal(size=(80, 2))
    columns = rng.random((20, 2))
    drawn = resampled_means(values, strata, units, columns, np.random.default_rng(1))
    times = np.random.default_rng(1).multinomial(6, np.full(6, 1 / 6), size=20)
    for found, column, weights in zip(drawn, columns, times[:, units], strict=True):
        inside = [strata == s for s in range(3) if weights[strata == s].any()]
        expected = np.mean([np.average(values[rows] @ column, weights=weights[rows]) for rows in inside])
        assert found == pytest.approx(expected)


def test_with_donors_intervals_spread_like_the_donors_and_with_few_like_the_cells():
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(12), 50)
    values = rng.normal(size=12)[units] + 0.1 * rng.normal(size=600)
    means = np.array([values[units == u].mean() for u in range(12)])
    half = stats.t.ppf(0.975, 11) * means.std(ddof=1) / np.sqrt(12)
    low, high = interval(values, 4000, 0, units=units)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    few = interval(values, 500, 0, units=units % 4)
    assert few == interval(values, 500, 0)
    assert few[1] - few[0] < (high - low) / 2


def test_variable_genes_of_open_problems_vary_within_batches():
    adata = counted_cells(80, 2500, types=2)
    chosen = open_problems_genes(adata, "batch")
    assert chosen.sum() == 2000
    assert open_problems_genes(adata[:, :1999], "batch").all()

"""Who wins, by how much, and for which donors."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

import univerce as uc
from tests.helpers.bench_cells import NOISE, PLAIN, counted_cells


@pytest.fixture(scope="module")
def adata():
    out = counted_cells(240, batches=6)
    out.obsm["X_twin"] = out.obsm["X_clear"] @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    out.obsm["X_twin"] = out.obsm["X_twin"].astype(np.float32)
    uc.bench.run(out, groupby="type", batch_key="batch", methods=["X_clear", "X_twin", NOISE, PLAIN], scib=False)
    return out


def judged_by_donor(right_a: np.ndarray, right_b: np.ndarray, donors: np.ndarray | None) -> ad.AnnData:
    """A benchmark of two methods that are right or wrong in each cell."""
    names = [str(i) for i in range(len(right_a))]
    adata = ad.AnnData(obs=pd.DataFrame({"type": pd.Categorical(["x"] * len(names))}, index=names))
    if donors is not None:
        adata.obs["donor"] = donors.astype(str)
    cells = {"X_A|kNN accuracy": right_a.astype("f4"), "X_B|kNN accuracy": right_b.astype("f4")}
    adata.obsm["benchmark_cells"] = pd.DataFrame(cells, index=adata.obs_names)
    runs = pd.DataFrame({"method": ["A", "B"], "status": "done", "obsm": ["X_A", "X_B"]})
    scores = pd.DataFrame({"metric": [], "method": [], "value": [], "n_cells": []})
    unit = "cells" if donors is None else "donor"
    adata.uns["benchmark"] = {"params": {"groupby": "type", "unit": unit}, "runs": runs, "table": scores}
    return adata


def test_a_clear_winner_is_named_and_the_difference_is_that_of_the_table(adata):
    table = uc.bench.compare(adata, "noise", "X_clear").set_index("metric")
    scores = adata.uns["benchmark"]["table"].query("group == 'all'").groupby(["metric", "method"])["value"].mean()
    for metric in ("kNN accuracy", "transfer logistic accuracy", "silhouette", "transfer kNN macro-F1"):
        expected = scores[metric, "noise"] - scores[metric, "X_clear"]
        assert table.loc[metric, "difference"] == pytest.approx(expected, abs=1e-6)
        assert table.loc[metric, "low"] < expected < table.loc[metric, "high"] < 0
        assert table.loc[metric, ["winner", "superiority", "unit", "n_units"]].tolist() == ["X_clear", 0, "batch", 6]


def test_the_same_cells_are_drawn_for_both_so_that_twins_do_not_differ(adata):
    table = uc.bench.compare(adata, "X_clear", "X_twin")
    np.testing.assert_allclose(table["difference"], 0, atol=1e-6)
    np.testing.assert_allclose(table["high"] - table["low"], 0, atol=1e-5)
    assert set(table["winner"][table["metric"] != "silhouette"]) == {""}
    assert set(table["superiority"][table["metric"] != "silhouette"]) == {0.5}


def test_turning_the_sides_round_turns_the_sign(adata):
    one = uc.bench.compare(adata, "X_clear", "noise", rng=1).set_index("metric")
    two = uc.bench.compare(adata, "noise", "X_clear", rng=1).set_index("metric")
    np.testing.assert_allclose(one["difference"], -two["difference"])
    np.testing.assert_allclose(one["superiority"], 1 - two["superiority"])
    assert list(one["winner"]) == list(two["winner"])


def test_methods_that_differ_by_chance_between_donors_have_no_winner_and_clear_ones_do():
    rng = np.random.default_rng(0)
    donors = np.repeat(np.arange(8), 100)
    wins, right_wins = [], []
    for repeat in range(60):
        of_donor = np.clip(0.8 + rng.normal(0, 0.04, (2, 8)), 0, 1)
        a, b = (rng.random(800) < p[donors] for p in of_donor)
        wins.append(uc.bench.compare(judged_by_donor(a, b, donors), "A", "B", n_bootstrap=200, rng=repeat)["winner"][0])
        worse = rng.random(800) < of_donor[1][donors] - 0.2
        adata = judged_by_donor(a, worse, donors)
        right_wins.append(uc.bench.compare(adata, "A", "B", n_bootstrap=200, rng=repeat)["winner"][0])
    assert np.mean([w != "" for w in wins]) <= 0.1
    assert np.mean([w == "A" for w in right_wins]) > 0.9


def test_superiority_is_the_share_of_donors_that_are_better():
    donors = np.repeat(np.arange(6), 4)
    a = np.ones(24)
    b = np.where(donors < 4, 0, 1)  # worse in four donors, equal in two
    (row,) = uc.bench.compare(judged_by_donor(a, b, donors), "A", "B", n_bootstrap=50).itertuples()
    assert row.superiority == pytest.approx(5 / 6)
    interval = binomtest(5, 6).proportion_ci(method="exact")
    assert (row.superiority_low, row.superiority_high) == pytest.approx((interval.low, interval.high))


def test_with_few_or_unknown_donors_cells_are_resampled_and_no_winner_is_named():
    a, b = np.ones(80), np.zeros(80)
    for donors, note in ((np.arange(80) % 4, "4 of 'donor', too few to resample"), (None, "pass donor_key=")):
        adata = judged_by_donor(a, b, donors)
        (row,) = uc.bench.compare(adata, "A", "B", n_bootstrap=50).itertuples()
        assert (row.winner, row.unit, row.low) == ("", "cells", 1)
        assert note in row.note
    adata.obs["donor"] = (np.arange(80) % 5).astype(str)
    (row,) = uc.bench.compare(adata, "A", "B", donor_key="donor", n_bootstrap=50).itertuples()
    assert (row.winner, row.unit, row.n_units, row.note) == ("A", "donor", 5, "")


def test_what_was_not_run_cannot_be_compared(adata):
    with pytest.raises(
        ValueError, match="'PCA' has no embedding in this benchmark; the methods are 'X_clear', 'X_twin'"
    ):
        uc.bench.compare(adata, "PCA", "X_clear")
    with pytest.raises(ValueError, match="compared with itself"):
        uc.bench.compare(adata, "noise", "noise")
    with pytest.raises(KeyError, match="is not a benchmark"):
        uc.bench.compare(adata, "noise", "X_clear", key="other")

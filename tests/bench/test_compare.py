"""Who wins, by how much, and how sure."""

from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.bench_cells import NOISE, PLAIN, counted_cells


@pytest.fixture(scope="module")
def adata():
    out = counted_cells()
    out.obsm["X_twin"] = out.obsm["X_clear"] @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    out.obsm["X_twin"] = out.obsm["X_twin"].astype(np.float32)
    uc.bench.run(out, groupby="type", batch_key="batch", methods=["X_clear", "X_twin", NOISE, PLAIN], scib=False)
    return out


def test_a_clear_winner_is_named_and_the_difference_is_that_of_the_table(adata):
    table = uc.bench.compare(adata, "noise", "X_clear").set_index("metric")
    scores = adata.uns["benchmark"]["table"].query("group == 'all'").groupby(["metric", "method"])["value"].mean()
    for metric in ("kNN accuracy", "transfer logistic accuracy", "silhouette"):
        expected = scores[metric, "noise"] - scores[metric, "X_clear"]
        assert table.loc[metric, "difference"] == pytest.approx(expected, abs=1e-6)
        assert table.loc[metric, "low"] < expected < table.loc[metric, "high"] < 0
        assert table.loc[metric, ["winner", "sure"]].tolist() == ["X_clear", 1.0]


def test_the_same_cells_are_drawn_for_both_so_that_twins_do_not_differ(adata):
    table = uc.bench.compare(adata, "X_clear", "X_twin")
    np.testing.assert_allclose(table["difference"], 0, atol=1e-6)
    np.testing.assert_allclose(table["high"] - table["low"], 0, atol=1e-5)
    assert set(table["winner"][table["metric"] != "silhouette"]) == {""}


def test_turning_the_sides_round_turns_the_sign(adata):
    one = uc.bench.compare(adata, "X_clear", "noise", rng=1).set_index("metric")
    two = uc.bench.compare(adata, "noise", "X_clear", rng=1).set_index("metric")
    np.testing.assert_allclose(one["difference"], -two["difference"])
    assert list(one["winner"]) == list(two["winner"])


def test_what_was_not_run_cannot_be_compared(adata):
    with pytest.raises(
        ValueError, match="'PCA' has no embedding in this benchmark; the methods are 'X_clear', 'X_twin'"
    ):
        uc.bench.compare(adata, "PCA", "X_clear")
    with pytest.raises(ValueError, match="compared with itself"):
        uc.bench.compare(adata, "noise", "noise")
    with pytest.raises(KeyError, match="is not a benchmark"):
        uc.bench.compare(adata, "noise", "X_clear", key="other")

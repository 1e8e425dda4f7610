"""uc.tl.find_cells and uc.tl.evaluate_find_cells: scores, abundances, and bad input."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline

from tests.helpers.blobs import OneScale, blobs
from univerce.tl.discovery._positives import fit_detector, label_cells
from univerce.tl.discovery.evaluate_find_cells import evaluate_find_cells
from univerce.tl.discovery.find_cells import find_cells

SIZES, ATLAS = {"norn": 30, "T": 120, "B": 90}, {"norn": 20, "T": 200, "B": 180}
OPTIONS = {"groupby": "type", "groups": "norn", "use_rep": "X_toy"}
WIDE = {"spread": 2.5}


@pytest.fixture
def known() -> ad.AnnData:
    return blobs(SIZES)


@pytest.fixture
def atlas() -> ad.AnnData:
    out = blobs(ATLAS, seed=1)
    out.obs["data_set"] = np.where(out.obs["type"] == "B", "without T", np.where(np.arange(400) % 2, "b", "a"))
    return out


def find(adata, known, **options) -> ad.AnnData:
    return find_cells(adata, known, **OPTIONS | {"copy": True} | options)


def scores(adata) -> np.ndarray:
    return adata.obs["found_score"].to_numpy(float)


def test_scores_rank_cells_as_a_pipeline_of_scikit_learn():
    atlas, known = blobs(ATLAS, seed=1, **WIDE), blobs(SIZES, **WIDE)
    out = find(atlas, known)
    model = make_pipeline(OneScale(), LogisticRegression(max_iter=1000))
    model.fit(known.obsm["X_toy"], known.obs["type"] == "norn")
    expected = model.decision_function(atlas.obsm["X_toy"])
    some = (scores(out) > 1e-4) & (scores(out) < 1 - 1e-4)
    assert some.sum() > 50
    slope = np.polyfit(expected[some], logit(scores(out)[some]), 1)
    np.testing.assert_allclose(logit(scores(out)[some]), np.polyval(slope, expected[some]), atol=0.01)
    assert slope[0] > 0
    assert slope[1] == pytest.approx(0, abs=0.02)
    np.testing.assert_array_equal(out.obs["found"], expected > 0)


def test_abundances_count_found_cells_and_survive_a_file(atlas, known, tmp_path):
    assert find(atlas, known, abundance_by=["data_set", "type"], copy=False) is None
    table = atlas.uns["found"]["table"]
    assert table.iloc[0][["by", "group", "n_cells"]].tolist() == ["all", "all", 400]
    for by, part in table.iloc[1:].groupby("by"):
        expected = atlas.obs.groupby(by, observed=True)["found"].agg(["sum", "size"])
        np.testing.assert_array_equal(part["n_found"], expected.loc[part["group"], "sum"])
        np.testing.assert_array_equal(part["n_cells"], expected.loc[part["group"], "size"])
        assert part["low"].is_monotonic_decreasing
        for row in part.itertuples():
            interval = binomtest(row.n_found, row.n_cells).proportion_ci(1 - 0.05 / len(part), "exact")
            assert (row.low, row.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
            assert row.prevalence_low <= row.prevalence <= row.prevalence_high
    assert find(atlas, known).uns["found"]["table"]["by"].unique().tolist() == ["all", "data_set"]
    atlas.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns["found"]
    pd.testing.assert_frame_equal(back["table"], table, check_dtype=False)
    assert back["params"]["groups"].tolist() == ["norn"]


def test_a_precision_holds_among_cells_of_the_same_kinds():
    sizes = {"norn": 150, "T": 600, "B": 450}
    atlas, known = blobs(sizes, seed=2, spread=1.7), blobs(sizes, spread=1.7)
    loose, tight = (find(atlas, known, threshold=value) for value in (0.1, {"precision": 0.85}))
    right = [(a.obs["type"] == "norn")[a.obs["found"]].mean() for a in (loose, tight)]
    assert right[0] < 0.8
    assert right[1] > 0.85
    assert tight.uns["found"]["scores"]["precision_low"] >= 0.85
    with pytest.raises(ValueError, match=r"takes [\d,]+ negatives of which none is found, and 1,050 are held out"):
        find(atlas, known, threshold={"precision": 0.9}, prevalence=1e-4)


def test_one_cell_of_one_is_not_first_and_the_prevalence_is_in_its_interval(atlas, known, caplog):
    atlas = atlas[np.argsort(atlas.obs["type"] != "norn", kind="stable")].copy()
    atlas.obs["data_set"] = ["alone", *["large"] * (atlas.n_obs - 1)]
    table = find(atlas, known, abundance_by="data_set", prevalence=0.3).uns["found"]["table"].set_index("group")
    assert table.loc["alone", "share"] == 1
    assert table.index.tolist() == ["all", "large", "alone"]
    assert table.loc["all", "prevalence_low"] <= 20 / 400 <= table.loc["all", "prevalence_high"]
    assert "assume a prevalence of 0.3, but the found cells suggest" in caplog.text


def test_negatives_beyond_max_cells_are_held_out_as_well(atlas, known):
    scores = find(atlas, known, fit_options={"max_cells": 40}).uns["found"]["scores"]
    assert (scores["n_held_out_positives"], scores["n_held_out_negatives"]) == (30, 210)


def test_a_low_prevalence_lowers_scores_by_bayes_and_weighs_the_average_precision():
    atlas, known = blobs(ATLAS, seed=1, **WIDE), blobs(SIZES, **WIDE)
    results = [find(atlas, known, prevalence=p) for p in (None, 1e-3)]
    usual, rare = map(scores, results)
    some = (usual > 1e-3) & (usual < 1 - 1e-3)
    assert some.sum() > 50
    np.testing.assert_allclose(logit(rare[some]) - logit(usual[some]), logit(1e-3) - logit(30 / 240), atol=1e-2)
    detector = fit_detector(label_cells(known, None, "type", "norn", "X_toy"))
    for result, prior in zip(results, (30 / 240, 1e-3), strict=True):
        share = detector.is_positive.mean()
        weight = np.where(detector.is_positive, prior / share, (1 - prior) / (1 - share))
        expected = average_precision_score(detector.is_positive, detector.held_out, sample_weight=weight)
        assert result.uns["found"]["scores"]["average_precision"] == pytest.approx(expected, rel=1e-4)


def test_order_of_cells_a_file_and_separate_negatives_change_nothing(atlas, known, tmp_path):
    path = tmp_path / "known.h5ad"
    known.write_h5ad(path)
    shuffled = known[np.random.default_rng(0).permutation(known.n_obs)].copy()
    expected = scores(find(atlas, known))
    np.testing.assert_array_equal(scores(find(atlas, path)), expected)
    np.testing.assert_allclose(scores(find(atlas, shuffled)), expected, rtol=1e-4, atol=1e-6)
    positive = known.obs["type"] == "norn"
    find_cells(atlas, known[positive].copy(), negatives=known[~positive].copy(), use_rep="X_toy")
    np.testing.assert_allclose(scores(atlas), expected, atol=0.1)


def test_cells_without_embedding_have_no_score_and_are_not_counted(atlas, known):
    atlas.obsm["X_toy"][:3] = np.nan
    known.obsm["X_toy"][0, 0] = np.inf
    out = find(atlas, known)
    assert np.isnan(scores(out)).nonzero()[0].tolist() == [0, 1, 2]
    assert not out.obs["found"].iloc[:3].any()
    assert out.uns["found"]["table"]["n_cells"].iloc[0] == 397


def test_cells_that_were_fitted_on_are_noticed(atlas, known, caplog):
    both = ad.concat([atlas, known[:25].copy()], uns_merge="first", index_unique="-")
    assert find(both, known).uns["found"]["params"]["n_in_labeled"] == 25
    assert f"25 of {both.n_obs} cells are among the labeled cells" in caplog.text
    assert find(atlas, known).uns["found"]["params"]["n_in_labeled"] == 0


def test_a_batch_is_held_out_as_a_whole_and_fewer_negatives_do_not_change_the_prevalence(atlas, known):
    options = {"fit_options": {"batch_key": "batch", "max_cells": 40}}
    result = find(atlas, known, **options).uns["found"]
    assert result["params"]["batch_key"] == "batch"
    assert result["params"]["prevalence"] == pytest.approx(30 / 240)
    assert result["scores"]["n_negatives"] == 210
    known.obs["batch"] = np.where(known.obs["type"] == "norn", "one", "two")
    with pytest.raises(ValueError, match="batch"):
        find(atlas, known, **options)


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (None, {"groups": None, "groupby": None}, ValueError, "positives only"),
        (None, {"groups": ["norn", "T", "B"]}, ValueError, "0 negatives have an embedding"),
        (None, {"groups": "Norn"}, ValueError, "has no 'Norn'; it has 'norn', 'T', 'B'"),
        (None, {"groups": []}, ValueError, "groups is empty"),
        (None, {"groupby": "kind"}, KeyError, "'kind'.*'type'"),
        (None, {"groupby": None}, ValueError, "go together"),
        (None, {"abundance_by": "tissue"}, KeyError, "'tissue'"),
        (None, {"threshold": {"recall": 0.9}}, ValueError, "precision"),
        (None, {"threshold": 1.5}, ValueError, "threshold=1.5"),
        (None, {"prevalence": 1.0}, ValueError, "prevalence=1.0"),
        (None, {"fit_options": {"cells": 1}}, ValueError, "fit_options has no 'cells'; its keys are 'batch_key'"),
        ("space", {}, ValueError, "two models"),
        ("nan", {}, ValueError, "0 positives have an embedding"),
        ("record", {}, KeyError, "check_space=False"),
    ],
)  # fmt: skip
def test_bad_input_is_an_error(atlas, known, change, options, error, match):
    if change == "space":
        known.uns["univerce"]["X_toy"]["model_digest"] = "another"
    if change == "nan":
        known.obsm["X_toy"][known.obs["type"] == "norn"] = np.nan
    if change == "record":
        del known.uns["univerce"]
        assert find(atlas, known, check_space=False).obs["found"].any()
    with pytest.raises(error, match=match):
        find(atlas, known, copy=False, **options)
    assert "found" not in atlas.obs


def test_hidden_types_are_found_again_and_noise_finds_none(known):
    known.obsm["X_noise"] = np.random.default_rng(0).normal(size=(known.n_obs, 8))
    rng = np.random.default_rng(0)
    rate = np.exp(rng.normal(size=(3, 40)))[known.obs["type"].cat.codes]
    adata = ad.AnnData(rng.poisson(rate).astype(np.float32), known.obs, obsm=dict(known.obsm), uns=dict(known.uns))
    table = evaluate_find_cells(adata, "type", batch_key="batch", use_reps=["X_toy", "X_noise"], n_comps=5)
    pd.testing.assert_frame_equal(adata.uns["evaluate_find_cells"]["table"], table)
    table = table.set_index(["type", "use_rep"])
    assert table.loc[("norn", "X_toy"), "n_hidden"] == 30
    toy, noise, pca = (table.xs(key, level="use_rep") for key in ("X_toy", "X_noise", "lognorm_pca"))
    assert (toy["average_precision"] > 0.85).all()
    np.testing.assert_allclose(noise["average_precision"], noise["prevalence"], atol=0.15)
    assert (pca["recall"] > 0.5).all()


def test_the_evaluation_needs_no_counts_and_does_not_depend_on_order(known):
    table = evaluate_find_cells(known, "type", use_reps="X_toy")
    assert table["use_rep"].unique().tolist() == ["X_toy"]
    again = evaluate_find_cells(known[::-1].copy(), "type", use_reps="X_toy")
    pd.testing.assert_frame_equal(table, again, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"min_cells": 500}, ValueError, "No type of obs"),
        ({"batch_key": "type"}, ValueError, "No type of obs"),
        ({"use_reps": []}, ValueError, "use_reps is empty"),
        ({"min_cells": 1}, ValueError, "min_cells=1"),
    ],
)
def test_an_evaluation_of_bad_input_is_an_error(known, options, error, match):
    with pytest.raises(error, match=match):
        evaluate_find_cells(known, "type", **{"use_reps": "X_toy"} | options)

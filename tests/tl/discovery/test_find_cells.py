"""uc.tl.find_cells and uc.tl.evaluate_find_cells: what is found, how it is counted, and what is refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tests.helpers.blobs import OneScale, blobs
from univerce.tl.discovery.evaluate_find_cells import evaluate_find_cells
from univerce.tl.discovery.find_cells import find_cells

SIZES = {"norn": 30, "T": 120, "B": 90}
OPTIONS = {"groupby": "type", "groups": "norn", "use_rep": "X_toy"}


@pytest.fixture
def known() -> ad.AnnData:
    return blobs(SIZES)


@pytest.fixture
def atlas() -> ad.AnnData:
    out = blobs({"norn": 20, "T": 200, "B": 180}, seed=1)
    out.obs["data_set"] = np.where(out.obs["type"] == "B", "without T", np.where(np.arange(400) % 2, "b", "a"))
    return out


WIDE = {"spread": 2.5}


def find(adata, known, **options) -> tuple[ad.AnnData, pd.DataFrame]:
    out = adata.copy()
    return out, find_cells(out, known, **OPTIONS | options)


def test_the_scores_rank_cells_as_scikit_learns_own_pipeline_does():
    atlas, known = blobs({"norn": 20, "T": 200, "B": 180}, seed=1, **WIDE), blobs(SIZES, **WIDE)
    out, _ = find(atlas, known)
    model = make_pipeline(OneScale(), LogisticRegression(max_iter=1000))
    model.fit(known.obsm["X_toy"], known.obs["type"] == "norn")
    logit = model.decision_function(atlas.obsm["X_toy"])
    score = out.obs["found_score"].to_numpy(float)
    some = (score > 1e-4) & (score < 1 - 1e-4)
    assert some.sum() > 50
    mine = np.log(score, where=some, out=np.zeros(400)) - np.log(1 - score, where=some, out=np.zeros(400))
    slope = np.polyfit(logit[some], mine[some], 1)
    np.testing.assert_allclose(mine[some], np.polyval(slope, logit[some]), atol=0.01)
    assert slope[0] > 0
    assert slope[1] == pytest.approx(0, abs=0.02)
    np.testing.assert_array_equal(out.obs["found"], logit > 0)


def test_the_sought_cells_are_found(atlas, known):
    out, _ = find(atlas, known)
    assert out.obs["found"][out.obs["type"] == "norn"].mean() > 0.8
    assert (out.obs["type"] == "norn")[out.obs["found"]].mean() > 0.8


def test_abundances_are_counts_of_found_cells_highest_first(atlas, known):
    out, table = find(atlas, known, abundance_by=["data_set", "type"])
    assert table.iloc[0][["by", "group", "n_cells"]].tolist() == ["all", "all", 400]
    for by, part in table.iloc[1:].groupby("by"):
        expected = out.obs.groupby(by, observed=True)["found"].agg(["sum", "size"])
        np.testing.assert_array_equal(part["n_found"], expected.loc[part["group"], "sum"])
        np.testing.assert_array_equal(part["n_cells"], expected.loc[part["group"], "size"])
        assert part["share"].is_monotonic_decreasing
        assert ((part["low"] <= part["share"]) & (part["share"] <= part["high"])).all()
    pd.testing.assert_frame_equal(out.uns["found"]["abundance"], table)
    assert find(atlas, known)[1]["by"].unique().tolist() == ["all", "data_set"]


def test_a_stated_precision_holds_among_cells_of_the_same_kinds(known):
    loose, tight = (find(blobs(SIZES, seed=2, spread=2.0), blobs(SIZES, spread=2.0), **options)[0] for options in (
        {"threshold": 0.1}, {"precision": 0.95},
    ))  # fmt: skip
    right = [(a.obs["type"] == "norn")[a.obs["found"]].mean() for a in (loose, tight)]
    assert right[0] < 0.75
    assert right[1] > 0.8
    assert tight.uns["found"]["scores"]["precision"] >= 0.95
    assert tight.uns["found"]["params"]["asked"] == "precision"


def test_a_low_prevalence_lowers_scores_by_bayes():
    atlas, known = blobs({"norn": 20, "T": 200, "B": 180}, seed=1, **WIDE), blobs(SIZES, **WIDE)
    usual, rare = (
        find(atlas, known, prevalence=p)[0].obs["found_score"].to_numpy(float) for p in (None, 1e-3)
    )  # fmt: skip
    assert (rare <= usual).all()
    some = (usual > 1e-3) & (usual < 1 - 1e-3)
    assert some.sum() > 50
    usual, rare = usual[some], rare[some]
    np.testing.assert_allclose(
        np.log(rare / (1 - rare)) - np.log(usual / (1 - usual)), np.log(1e-3 / 0.999) - np.log(30 / 210), atol=1e-2
    )


def test_using_fewer_of_the_rest_does_not_change_the_prevalence(atlas, known):
    out = find(atlas, known, max_cells=40)[0]
    assert out.uns["found"]["params"]["prevalence"] == pytest.approx(30 / 240)
    assert out.uns["found"]["scores"]["n_rest"] == 210


def test_positives_and_negatives_in_two_data_give_what_one_gives(atlas, known):
    sought = known.obs["type"] == "norn"
    apart = atlas.copy()
    find_cells(apart, known[sought].copy(), negatives=known[~sought].copy(), use_rep="X_toy")
    np.testing.assert_allclose(apart.obs["found_score"], find(atlas, known)[0].obs["found_score"], atol=0.1)


def test_order_of_cells_and_a_file_change_nothing(atlas, known, tmp_path):
    path = tmp_path / "known.h5ad"
    known.write_h5ad(path)
    shuffled = known[np.random.default_rng(0).permutation(known.n_obs)].copy()
    expected = find(atlas, known)[0].obs["found_score"]
    pd.testing.assert_series_equal(find(atlas, path)[0].obs["found_score"], expected)
    np.testing.assert_allclose(find(atlas, shuffled)[0].obs["found_score"], expected, rtol=1e-4, atol=1e-6)


def test_cells_without_embedding_have_no_score_and_are_not_counted(atlas, known):
    atlas.obsm["X_toy"][:3] = np.nan
    known.obsm["X_toy"][0, 0] = np.inf
    out, table = find(atlas, known)
    assert out.obs["found_score"].isna().to_numpy().nonzero()[0].tolist() == [0, 1, 2]
    assert not out.obs["found"].iloc[:3].any()
    assert table["n_cells"].iloc[0] == 397


def test_what_is_written_survives_a_file(atlas, known, tmp_path):
    out, table = find(atlas, known, abundance_by="data_set")
    out.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.uns["found"]["abundance"], table, check_dtype=False)
    assert back.uns["found"]["params"]["groups"].tolist() == ["norn"]


def test_a_batch_is_held_out_whole(atlas, known):
    out = find(atlas, known, batch="batch")[0]
    assert out.uns["found"]["params"]["batch"] == "batch"
    known.obs["batch"] = np.where(known.obs["type"] == "norn", "one", "two")
    with pytest.raises(ValueError, match="batch"):
        find(atlas, known, batch="batch")


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (None, {"groups": None, "groupby": None}, ValueError, "positives only"),
        (None, {"groups": ["norn", "T", "B"]}, ValueError, "0 cells with an embedding are the rest"),
        (None, {"groups": "Norn"}, ValueError, "has no 'Norn'; it has 'norn', 'T', 'B'"),
        (None, {"groups": []}, ValueError, "groups is empty"),
        (None, {"groupby": "kind"}, KeyError, "'kind'.*'type'"),
        (None, {"groupby": None}, ValueError, "go together"),
        (None, {"abundance_by": "tissue"}, KeyError, "'tissue'"),
        (None, {"use_rep": "X_umap"}, KeyError, "X_umap"),
        (None, {"threshold": 0.5, "precision": 0.9}, ValueError, "pass one"),
        (None, {"prevalence": 1.0}, ValueError, "prevalence=1.0"),
        (None, {"threshold": 1.5}, ValueError, "threshold=1.5"),
        ("space", {}, ValueError, "two models"),
        ("nan", {}, ValueError, "0 cells with an embedding are what is sought"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(atlas, known, change, options, error, match):
    if change == "space":
        known.uns["X_toy"]["params"]["model_digest"] = "another"
    if change == "nan":
        known.obsm["X_toy"][known.obs["type"] == "norn"] = np.nan
    with pytest.raises(error, match=match):
        find(atlas, known, **options)
    assert "found" not in atlas.obs


def test_foreign_embeddings_need_the_word_of_the_caller(atlas, known):
    del known.uns["X_toy"]
    with pytest.raises(KeyError, match="check_space=False"):
        find(atlas, known)
    assert find(atlas, known, check_space=False)[1]["n_found"].iloc[0] > 0


def with_counts(adata: ad.AnnData) -> ad.AnnData:
    rng = np.random.default_rng(0)
    rate = np.exp(rng.normal(size=(3, 40)))[adata.obs["type"].cat.codes]
    return ad.AnnData(rng.poisson(rate).astype(np.float32), obs=adata.obs, obsm=dict(adata.obsm), uns=dict(adata.uns))


def test_hidden_types_are_found_again_and_noise_finds_none(known):
    known.obsm["X_noise"] = np.random.default_rng(0).normal(size=(known.n_obs, 8))
    table = evaluate_find_cells(
        with_counts(known), "type", split="batch", use_reps=["X_toy", "X_noise"], n_comps=5
    ).set_index(["type", "use_rep"])
    assert table.loc[("norn", "X_toy"), "n_hidden"] == 30
    assert set(table.index.get_level_values("use_rep")) == {"X_toy", "X_noise", "lognorm_pca"}
    assert (table.xs("X_toy", level="use_rep")["average_precision"] > 0.85).all()
    noise = table.xs("X_noise", level="use_rep")
    np.testing.assert_allclose(noise["average_precision"], noise["prevalence"], atol=0.15)
    assert (table.xs("lognorm_pca", level="use_rep")["recall"] > 0.5).all()


def test_the_evaluation_needs_no_counts_and_does_not_depend_on_order(known):
    table = evaluate_find_cells(known, "type", use_reps="X_toy")
    assert table["use_rep"].unique().tolist() == ["X_toy"]
    again = evaluate_find_cells(known[::-1].copy(), "type", use_reps="X_toy")
    pd.testing.assert_frame_equal(table, again, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"min_cells": 500}, ValueError, "No type of obs"),
        ({"split": "type"}, ValueError, "No type of obs"),
        ({"split": "donor"}, KeyError, "donor"),
        ({"use_reps": []}, ValueError, "use_reps is empty"),
        ({"min_cells": 1}, ValueError, "min_cells=1"),
    ],
)
def test_an_evaluation_that_cannot_be_made_is_refused(known, options, error, match):
    with pytest.raises(error, match=match):
        evaluate_find_cells(known, "type", **{"use_reps": "X_toy"} | options)

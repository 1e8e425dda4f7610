"""uc.tl.ood_score: distances, their calibration, and bad input."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import kstest

from tests.helpers.blobs import blobs
from univerce.tl.discovery.ood_score import ood_score, p_values

SIZES = {"T": 150, "B": 150}


def score(adata, reference, **options) -> ad.AnnData:
    return ood_score(adata, reference, **{"use_rep": "X_toy", "copy": True} | options)


@pytest.fixture
def reference() -> ad.AnnData:
    return blobs(SIZES)


@pytest.fixture
def adata() -> ad.AnnData:
    return blobs({"T": 50, "unseen": 40}, seed=1)


def brute_force(adata, reference, k, batches=None) -> tuple[np.ndarray, np.ndarray]:
    points, others = (a.obsm["X_toy"].astype(float) for a in (adata, reference))
    among = cdist(others, others)
    if batches is None:
        np.fill_diagonal(among, np.inf)
    else:
        among[batches[:, None] == batches] = np.inf
    return np.sort(cdist(points, others), axis=1)[:, k - 1], np.sort(np.sort(among, axis=1)[:, k - 1])


@pytest.mark.parametrize("key", [None, "batch"], ids=["any other cell", "cells of other batches"])
def test_distances_and_p_values_are_those_of_brute_force(adata, reference, key):
    out = score(adata, reference, n_neighbors=7, batch_key=key)
    batches = None if key is None else reference.obs["batch"].to_numpy()
    distance, calibration = brute_force(adata, reference, 7, batches)
    np.testing.assert_allclose(out.obs["ood_score"], distance, rtol=1e-5)
    np.testing.assert_allclose(out.uns["ood"]["calibration"], calibration, rtol=1e-5)
    expected = [(1 + np.sum(calibration >= d)) / 301 for d in distance]
    np.testing.assert_allclose(out.obs["ood_p_value"], expected, atol=1.5 / 301)
    assert out.uns["ood"]["table"]["share_0.05"].iloc[0] == np.mean(out.obs["ood_p_value"] <= 0.05)


def test_an_unseen_type_is_far_out_and_cells_of_the_same_kind_are_uniform():
    out = score(blobs({"T": 50, "unseen": 40}, seed=1, spread=0.4), blobs(SIZES, spread=0.4))
    unseen = out.obs["type"] == "unseen"
    assert (out.obs["ood_p_value"][unseen] < 0.05).mean() > 0.9
    same = score(blobs(SIZES, seed=0, shift=0.0)[::2].copy(), blobs(SIZES, seed=5, shift=0.0))
    assert kstest(same.obs["ood_p_value"], "uniform").pvalue > 0.001


def test_order_a_file_and_a_sample_for_calibration(adata, reference, tmp_path):
    expected = score(adata, reference, n_calibration=100)
    path = tmp_path / "reference.h5ad"
    reference[np.random.default_rng(0).permutation(300)].copy().write_h5ad(path)
    again = score(adata, path, n_calibration=100)
    np.testing.assert_array_equal(again.obs["ood_p_value"], expected.obs["ood_p_value"])
    assert len(expected.uns["ood"]["calibration"]) == 100


def test_cells_without_embedding_have_no_score_and_are_not_neighbors(adata, reference, tmp_path):
    adata.obsm["X_toy"][3] = np.nan
    reference.obsm["X_toy"][5, 2] = np.nan
    assert score(adata, reference, copy=False) is None
    assert adata.obs[["ood_score", "ood_p_value"]].isna().all(axis=1).to_numpy().nonzero()[0].tolist() == [3]
    assert adata.uns["ood"]["table"]["n_cells"].iloc[0] == 89
    assert len(adata.uns["ood"]["calibration"]) == 299
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    pd.testing.assert_frame_equal(back.uns["ood"]["table"], adata.uns["ood"]["table"])


def test_cells_that_are_in_the_reference_are_noticed(adata, reference, caplog):
    adata.obsm["X_toy"][:2] = np.nan
    reference.obsm["X_toy"][0] = np.nan
    both = ad.concat([adata, reference[:40].copy()], uns_merge="first", index_unique="-")
    assert score(both, reference).uns["ood"]["params"]["n_in_reference"] == 39
    assert "39 of 130 cells are also in the reference" in caplog.text
    assert score(adata, reference).uns["ood"]["params"]["n_in_reference"] == 0


def test_p_values_by_hand():
    np.testing.assert_allclose(p_values(np.array([0.5, 2, 9, np.nan]), np.array([1.0, 2, 3])), [1, 0.75, 0.25, np.nan])


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (None, {"n_neighbors": 0}, ValueError, "n_neighbors=0"),
        (None, {"n_neighbors": 300}, ValueError, "needs 301 or more"),
        (None, {"n_neighbors": 200, "batch_key": "type"}, ValueError, "Outside of 'T'"),
        ("space", {}, ValueError, "two models"),
        ("width", {}, ValueError, "8 columns in adata and 5 in reference"),
        ("nan", {}, ValueError, "No cell has an embedding"),
        ("record", {}, KeyError, "check_space=False"),
    ],
)
def test_bad_input_is_an_error(adata, reference, change, options, error, match):
    if change == "space":
        reference.uns["univerce"]["X_toy"]["model_digest"] = "another"
    if change == "width":
        reference.obsm["X_toy"] = reference.obsm["X_toy"][:, :5]
    if change == "nan":
        adata.obsm["X_toy"][:] = np.nan
    if change == "record":
        del adata.uns["univerce"]
    with pytest.raises(error, match=match):
        score(adata, reference, **options)

"""uc.tl.ood_score: distances, their calibration, shuffled cells, and bad input."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.spatial.distance import cdist
from scipy.stats import kstest

import univerce as uc
from tests.helpers.blobs import blobs
from tests.helpers.tiny import tiny_cells, write_tiny_model
from univerce.embeddings.space import Space
from univerce.tl.discovery._shuffled import embed_shuffled, shuffle_counts
from univerce.tl.discovery.ood_score import ood_score, p_values
from univerce.tl.uce_embed import uce_embed

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


def test_p_values_by_hand():
    np.testing.assert_allclose(p_values(np.array([0.5, 2, 9, np.nan]), np.array([1.0, 2, 3])), [1, 0.75, 0.25, np.nan])


def test_a_shuffled_cell_keeps_its_counts_and_nothing_else():
    rng = np.random.default_rng(0)
    counts = sp.csr_matrix(rng.poisson(0.5, size=(40, 30)))
    columns = np.setdiff1d(np.arange(30), [4, 7])
    keys = np.arange(40, dtype=np.uint64)
    out = shuffle_counts(counts, columns, keys)
    assert out[:, [4, 7]].nnz == 0
    np.testing.assert_array_equal(
        np.sort(out.toarray()[:, columns], axis=1), np.sort(counts.toarray()[:, columns], axis=1)
    )
    assert (out != counts).nnz > 200
    reverse = shuffle_counts(counts[::-1], columns, keys[::-1])
    np.testing.assert_array_equal(reverse.toarray()[::-1], out.toarray())
    many = shuffle_counts(sp.csr_matrix(np.tile([5, 1, 0, 0], (4000, 1))), np.arange(4), np.arange(4000))
    np.testing.assert_allclose(many.toarray().mean(axis=0), 1.5, atol=0.15)


def test_shuffled_cells_are_embedded_as_the_real_ones_were(tmp_path):
    path = write_tiny_model(tmp_path / "tiny").path
    adata = ad.concat([tiny_cells("human", 12), tiny_cells("mouse", 9)], join="outer", fill_value=0)
    adata.obs["organism"] = ["human"] * 12 + ["mouse"] * 9
    adata.layers["raw"] = adata.X.copy()
    adata.X = adata.X * 0.5
    uce_embed(adata, model=path, layer="raw", n_draws=2, rng=3)
    rows = np.array([0, 5, 14])
    space = Space.find(adata.uns, "X_uce")
    shuffled = embed_shuffled(adata, rows, space, "X_uce", path, seed=1)
    assert shuffled.shape == (3, 10)
    assert np.isfinite(shuffled).all()
    assert not np.allclose(shuffled, adata.obsm["X_uce"][rows], atol=1e-3)
    alone = embed_shuffled(adata, rows[1:], space, "X_uce", path, seed=1)
    np.testing.assert_allclose(alone, shuffled[1:], atol=1e-5)
    with pytest.raises(ValueError, match="Pass model="):
        embed_shuffled(adata, rows, space, "X_uce", None, seed=1)
    with pytest.raises(ValueError, match="not by 'uce-mini'"):
        embed_shuffled(adata, rows, space, "X_uce", "uce-mini", seed=1)


def test_shuffled_blood_cells_lie_further_out_than_real_ones():
    cells = uc.datasets.pbmc68k_reduced()[:260].copy()
    uce_embed(cells)
    adata, reference = cells[:60].copy(), cells[60:].copy()
    ood_score(adata, reference, shuffled=True, n_shuffled=40)
    report = uc.get.table(adata, "ood")
    assert report["cells"].tolist() == ["adata", "shuffled"]
    assert adata.uns["ood"]["auroc"] > 0.95
    assert report["share_0.05"].iloc[0] < 0.3 < 0.7 < report["share_0.05"].iloc[1]


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (None, {"n_neighbors": 0}, ValueError, "n_neighbors=0"),
        (None, {"n_neighbors": 300}, ValueError, "needs 301 or more"),
        (None, {"n_neighbors": 200, "batch_key": "type"}, ValueError, "Outside of 'T'"),
        (None, {"shuffled": True}, ValueError, "made by the model 'toy'"),
        ("space", {}, ValueError, "two models"),
        ("width", {}, ValueError, "8 columns in adata and 5 in reference"),
        ("nan", {}, ValueError, "No cell has an embedding"),
        ("record", {}, KeyError, "check_space=False"),
    ],
)
def test_bad_input_is_an_error(adata, reference, change, options, error, match):
    if change == "space":
        reference.uns["X_toy"]["params"]["model_digest"] = "another"
    if change == "width":
        reference.obsm["X_toy"] = reference.obsm["X_toy"][:, :5]
    if change == "nan":
        adata.obsm["X_toy"][:] = np.nan
    if change == "record":
        del adata.uns["X_toy"]
    with pytest.raises(error, match=match):
        score(adata, reference, **options)

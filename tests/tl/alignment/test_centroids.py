"""uc.tl.centroids against scanpy, and what it leaves out."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import zarr

from univerce.embeddings.space import Space
from univerce.tl.alignment.centroids import centroids


@pytest.fixture
def cells() -> ad.AnnData:
    rng = np.random.default_rng(0)
    n = 300
    obs = pd.DataFrame(
        {
            "tissue": pd.Categorical(rng.choice(["Lung", "Liver"], n), categories=["Lung", "Liver", "Skin"]),
            "cell_type": rng.choice(["macrophage", "B cell", "T cell"], n),
            "donor": rng.integers(1, 3, n),
        },
        index=[f"c{i}" for i in range(n)],
    )
    adata = ad.AnnData(obs=obs, obsm={"X_uce": rng.normal(size=(n, 7)).astype(np.float32)})
    Space("m", "d", ("human",), {"human": "t"}).write(adata, "X_uce")
    return adata


@pytest.mark.parametrize("groupby", ["cell_type", ["tissue", "cell_type"], ["donor", "tissue", "cell_type"]])
def test_centroids_are_the_means_that_scanpy_computes(cells, groupby):
    out = centroids(cells, groupby)
    keys = [groupby] if isinstance(groupby, str) else groupby
    cells.obs = cells.obs.astype(dict.fromkeys(keys, "str")).astype(dict.fromkeys(keys, "category"))
    expected = sc.get.aggregate(cells, keys, "mean", obsm="X_uce")
    names = [" | ".join(row) for row in expected.obs[keys].astype(str).itertuples(index=False)]
    assert sorted(out.obs_names) == sorted(names)
    np.testing.assert_allclose(out[names].X, expected.layers["mean"], rtol=1e-6)
    assert out.X.dtype == np.float32
    np.testing.assert_array_equal(out.obs["n_cells"], cells.obs.groupby(keys, observed=True).size().to_numpy())


def test_centroids_are_used_like_cells(cells):
    out = centroids(cells, ["tissue", "cell_type"])
    assert out.obs_names[0] == "Liver | B cell"
    assert list(out.obs.columns) == ["tissue", "cell_type", "n_cells", "X_uce_space"]
    assert Space.find(out, "X_uce") == Space.find(cells, "X_uce")
    np.testing.assert_array_equal(out.obsm["X_uce"], out.X)
    again = centroids(out, "tissue", min_cells=1)
    np.testing.assert_allclose(again["Lung"].X[0], out[out.obs["tissue"] == "Lung"].X.mean(axis=0), rtol=1e-6)


def test_an_embedding_on_disk_in_half_precision_gives_the_same_in_any_order(cells, tmp_path):
    half = cells.obsm["X_uce"].astype(np.float16)
    array = zarr.open_array(tmp_path / "x", mode="w", shape=half.shape, chunks=(64, 7), dtype="f2", zarr_format=2)
    array[:] = half
    on_disk = ad.AnnData(obs=cells.obs.drop(columns="X_uce_space"), obsm={"X_uce": array})  # without a record
    expected = pd.DataFrame(half.astype(float)).groupby(cells.obs["cell_type"].to_numpy()).mean()
    out = centroids(on_disk, "cell_type")
    np.testing.assert_allclose(out.X, expected, rtol=1e-6)
    assert out.uns == {}
    cells.obsm["X_uce"] = half
    shuffled = cells[np.random.default_rng(1).permutation(cells.n_obs)]
    np.testing.assert_allclose(centroids(shuffled, "cell_type").X, out.X, rtol=1e-6)


def test_cells_without_label_or_embedding_are_left_out_and_counted(cells, caplog):
    kept = cells[5:].copy()
    cells.obs.loc[["c0", "c1"], "cell_type"] = np.nan
    cells.obs.loc["c2", "tissue"] = np.nan
    cells.obsm["X_uce"][3:5] = np.nan
    with caplog.at_level(logging.INFO, logger="univerce"):
        out = centroids(cells, ["tissue", "cell_type"])
    assert "5 of 300 cells are left out: 3 without a label" in caplog.text
    assert "2 without an embedding" in caplog.text
    np.testing.assert_array_equal(out.X, centroids(kept, ["tissue", "cell_type"]).X)
    assert out.obs["n_cells"].sum() == 295


def test_small_groups_are_left_out_and_named(cells, caplog):
    cells.obs.loc["c7", "cell_type"] = "rare"
    assert "rare" in centroids(cells, "cell_type", min_cells=1).obs_names
    with caplog.at_level(logging.INFO, logger="univerce"):
        out = centroids(cells, "cell_type")
    assert list(out.obs_names) == ["B cell", "T cell", "macrophage"]
    assert "fewer than 10 cells are left out: rare" in caplog.text
    with pytest.raises(ValueError, match="min_cells=301"):
        centroids(cells, "cell_type", min_cells=301)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"groupby": "type"}, KeyError, r"obs\['type'\] does not exist; .*'cell_type'"),
        ({"groupby": "donor", "use_rep": "X_pca"}, KeyError, "X_uce"),
        ({"groupby": []}, ValueError, r"groupby=\[\]"),
        ({"groupby": ["donor", "donor"]}, ValueError, "each once"),
        ({"groupby": "n_cells"}, ValueError, "'n_cells'"),
        ({"groupby": "donor", "min_cells": 0}, ValueError, "min_cells=0 must"),
        ({"groupby": ["a", "b"]}, ValueError, r"'x \| y \| z'\. Rename"),
        ({"groupby": "donor", "use_rep": "X_nan"}, ValueError, "no cell has both a label"),
    ],
)
def test_invalid_input_is_named(cells, options, error, message):
    cells.obs["a"], cells.obs["b"] = ["x", "x | y"] * 150, ["y | z", "z"] * 150
    cells.obsm["X_nan"] = np.full((300, 2), np.nan)
    with pytest.raises(error, match=message):
        centroids(cells, **options)

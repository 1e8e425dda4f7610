"""Silhouettes of types, against scikit-learn."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_samples

from univerce.tl.alignment.silhouette_by_type import draw_evenly, silhouette_by_type


@pytest.fixture
def adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    names = rng.choice(["a", "b", "c", "d"], 200, p=[0.5, 0.3, 0.15, 0.05])
    adata = ad.AnnData(obs=pd.DataFrame({"cell_type": pd.Categorical(names)}, index=[f"c{i}" for i in range(200)]))
    centers = {"a": [0, 0], "b": [2, 0], "c": [0, 2], "d": [5, 5]}
    adata.obsm["X_good"] = np.array([centers[name] for name in names]) + 0.5 * rng.normal(size=(200, 2))
    adata.obsm["X_bad"] = rng.normal(size=(200, 3))
    return adata


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_silhouettes_equal_scikit_learns(adata, metric):
    table = silhouette_by_type(adata, use_reps=["X_good", "X_bad"], metric=metric)
    for rep in ("X_good", "X_bad"):
        values = silhouette_samples(adata.obsm[rep].astype(np.float32), adata.obs["cell_type"], metric=metric)
        expected = (pd.Series(values).groupby(adata.obs["cell_type"].to_numpy(str)).mean() + 1) / 2
        found = table[table["use_rep"] == rep].set_index("type")["silhouette"]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    counts = adata.obs["cell_type"].value_counts()
    assert table.groupby("type")["n_cells"].first().to_dict() == counts.to_dict()


def test_the_better_embedding_wins_and_equal_ones_share(adata):
    adata.obsm["X_same"] = adata.obsm["X_good"]
    table = silhouette_by_type(adata, use_reps=["X_bad", "X_good", "X_same"])
    assert table.groupby("use_rep")["won"].unique().map(list).to_dict() == {
        "X_bad": [0], "X_good": [0.5], "X_same": [0.5],
    }  # fmt: skip
    summary = adata.uns["silhouette_by_type"]["summary"]
    assert summary["use_rep"].tolist() == ["X_bad", "X_good", "X_same"]
    assert summary["share_won"].tolist() == [0, 0.5, 0.5]
    assert summary["silhouette"].tolist() == table.groupby("use_rep")["silhouette"].mean().tolist()


def test_a_sample_comes_close_to_all_cells_in_any_order(adata):
    rng = np.random.default_rng(0)
    many = ad.concat([adata] * 5, index_unique="-")
    for key in ("X_good", "X_bad"):
        many.obsm[key] = many.obsm[key] + 0.3 * rng.normal(size=many.obsm[key].shape)
    everything = silhouette_by_type(many, use_reps=["X_good", "X_bad"])
    sample = silhouette_by_type(many, use_reps=["X_good", "X_bad"], max_cells=400)
    assert sample.groupby("use_rep")["n_cells"].sum().tolist() == [400, 400]
    np.testing.assert_allclose(sample["silhouette"], everything["silhouette"], atol=0.05)
    shuffled = many[rng.permutation(1000)].copy()
    pd.testing.assert_frame_equal(silhouette_by_type(shuffled, use_reps=["X_good", "X_bad"], max_cells=400), sample)
    other = silhouette_by_type(many, use_reps=["X_good", "X_bad"], max_cells=400, rng=1)
    assert not other["silhouette"].equals(sample["silhouette"])


def test_small_types_give_all_their_cells():
    codes = np.repeat([0, 1, 2], [1000, 3, 50])
    drawn = draw_evenly(codes, 100, np.random.default_rng(0))
    assert np.bincount(codes[drawn]).tolist() == [49, 3, 48]
    assert draw_evenly(codes, 2000, np.random.default_rng(0)).tolist() == list(range(1053))


def test_a_type_of_one_cell_has_no_silhouette(adata):
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.add_categories("alone")
    adata.obs.iloc[0, 0] = "alone"
    table = silhouette_by_type(adata, use_reps=["X_good", "X_bad"]).set_index("type")
    assert table.loc["alone", ["silhouette", "won"]].isna().all(axis=None)
    assert table.loc["alone", "n_cells"].tolist() == [1, 1]
    assert adata.uns["silhouette_by_type"]["summary"]["share_won"].sum() == pytest.approx(1)


def test_embeddings_are_compared_on_the_cells_that_all_know(adata):
    few = adata.copy()
    few.obsm["X_good"][:20] = np.nan
    few.obsm["X_bad"][20:25] = np.nan
    few.obs.iloc[25:30, 0] = np.nan
    found = silhouette_by_type(few, use_reps=["X_good", "X_bad"])
    pd.testing.assert_frame_equal(found, silhouette_by_type(adata[30:].copy(), use_reps=["X_good", "X_bad"]))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"use_reps": []}, ValueError, "use_reps is empty"),
        ({"use_reps": ["X_good", "X_x"]}, KeyError, r"obsm\['X_x'\] does not exist"),
        ({"metric": "city"}, ValueError, "metric='city'"),
        ({"max_cells": 1}, ValueError, "max_cells=1 must be"),
        ({"max_cells": 3}, ValueError, "max_cells=3 leaves one cell of each of the 4 types"),
        ({"groupby": "one"}, ValueError, r"needs at least two types.*there are 1: 'a'"),
    ],
)
def test_invalid_input_is_named(adata, change, error, message):
    adata.obs["one"] = "a"
    with pytest.raises(error, match=message):
        silhouette_by_type(adata, **({"use_reps": ["X_good"]} | change))

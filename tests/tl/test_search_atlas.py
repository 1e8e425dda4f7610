"""uc.tl.search_atlas: neighbors, their labels, indices kept in files, and what it refuses."""

from __future__ import annotations

import logging
import sys
from collections import Counter

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import write_elem
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from univerce.embeddings.index import build_index
from univerce.tl.alignment.centroids import centroids
from univerce.tl.search_atlas import _summarize, search_atlas

MODULE = sys.modules["univerce.tl.search_atlas"]  # the package holds the function under this name
PARAMS = {"model": "m", "model_digest": "d", "species": ["human"], "table_digest": {"human": "t"}}
CENTERS = np.random.default_rng(11).normal(size=(6, 12))


def cells(n: int, seed: int, *, dtype: type = np.float32, **params) -> ad.AnnData:
    rng = np.random.default_rng([3, seed])
    kind = rng.integers(0, len(CENTERS), n)
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical([f"type {k}" for k in kind])}, index=[f"{seed}-{i}" for i in range(n)]
    )
    rep = (CENTERS[kind] + 0.8 * rng.normal(size=(n, 12))).astype(dtype)
    return ad.AnnData(obs=obs, obsm={"X_uce": rep}, uns={"univerce": {"X_uce": PARAMS | params}})


@pytest.fixture
def adata() -> ad.AnnData:
    return cells(80, 0)


@pytest.fixture
def atlas() -> ad.AnnData:
    return cells(900, 1, dtype=np.float16)


def write(adata: ad.AnnData, path):
    write_elem(zarr.open_group(path, mode="w", zarr_format=2), "/", adata)
    return path


def search(adata, atlas, **options) -> ad.AnnData:
    return search_atlas(adata, atlas, copy=True, **options)


def test_neighbors_and_labels_are_those_of_scikit_learn(adata, atlas):
    out = search(adata, atlas, n_neighbors=15)
    reference, query = (a.obsm["X_uce"].astype(float) for a in (atlas, adata))
    distances, indices = NearestNeighbors(n_neighbors=15, algorithm="brute").fit(reference).kneighbors(query)
    np.testing.assert_array_equal(out.obsm["atlas_indices"], indices)
    np.testing.assert_allclose(out.obsm["atlas_distances"], distances, rtol=1e-5)
    np.testing.assert_allclose(out.obs["atlas_distance"], np.median(distances, axis=1), rtol=1e-5)
    voter = KNeighborsClassifier(15, algorithm="brute").fit(reference, atlas.obs["cell_type"].astype(str))
    share = voter.predict_proba(query)
    np.testing.assert_allclose(out.obs["atlas_share"], share.max(axis=1), rtol=1e-6)
    sure = np.sort(share, axis=1)[:, -1] > np.sort(share, axis=1)[:, -2]
    assert sure.sum() > 60
    np.testing.assert_array_equal(out.obs["atlas_label"].astype(str)[sure], voter.predict(query)[sure])
    table = out.uns["atlas"]["table"]
    kind = out.obs.groupby("atlas_label", observed=True)
    assert table["n_cells"].to_dict() == kind.size().to_dict()
    np.testing.assert_allclose(table["share"], kind["atlas_share"].mean())
    assert list(adata.obs) == ["cell_type"]
    params = out.uns["atlas"]["params"]
    expected = {"method": "exact", "n_neighbors": 15, "atlas": "AnnData", "atlas_n_obs": 900}
    assert expected.items() <= params.items()
    assert "recall" not in params


@pytest.mark.parametrize("name", ["atlas.zarr", "atlas.h5ad"])
def test_an_atlas_on_disk_gives_the_same_as_one_in_memory(adata, atlas, tmp_path, name):
    path = tmp_path / name
    write(atlas, path) if name.endswith("zarr") else atlas.write_h5ad(path)
    mine, theirs = search(adata, str(path)), search(adata, atlas)
    pd.testing.assert_frame_equal(mine.obs, theirs.obs)
    for key in ("atlas_indices", "atlas_distances"):
        np.testing.assert_array_equal(mine.obsm[key], theirs.obsm[key])
    assert mine.uns["atlas"]["params"] == theirs.uns["atlas"]["params"] | {"atlas": str(path)}


@pytest.mark.parametrize("method", ["exact", "ivf", "hnsw", "compressed"])
def test_the_result_can_be_written_and_read(adata, atlas, tmp_path, method):
    adata.obsm["X_uce"][3] = np.nan
    out = search(adata, atlas, method=method, key_added="near")
    out.write_h5ad(tmp_path / "out.h5ad")
    back = ad.read_h5ad(tmp_path / "out.h5ad")
    pd.testing.assert_frame_equal(back.obs, out.obs, check_categorical=False)  # pandas 3 reads text as str
    for column in out.obs.select_dtypes("category"):
        assert list(back.obs[column].cat.categories) == list(out.obs[column].cat.categories)
    np.testing.assert_array_equal(back.obsm["near_indices"], out.obsm["near_indices"])
    assert back.uns["near"]["params"] == out.uns["near"]["params"]


@pytest.mark.parametrize("method", ["exact", "ivf", "compressed"])
def test_cells_without_an_embedding_have_no_neighbors_and_are_none(adata, atlas, method, caplog):
    adata.obsm["X_uce"][[2, 70]] = np.nan
    atlas.obsm["X_uce"][100:150] = np.nan
    kept = np.delete(np.arange(900), np.arange(100, 150))
    with caplog.at_level(logging.INFO, logger="univerce"):
        out = search(adata, atlas, n_neighbors=9, method=method, target_recall=1.0)
    assert "50 of 900 cells of the atlas have no embedding" in caplog.text
    assert "2 of 80 cells have no embedding" in caplog.text
    known = np.setdiff1d(np.arange(80), [2, 70])
    expected = search(adata[known], atlas[kept], n_neighbors=9)
    np.testing.assert_array_equal(out.obsm["atlas_indices"][known], kept[expected.obsm["atlas_indices"]])
    assert (out.obsm["atlas_indices"][[2, 70]] == -1).all()
    assert np.isnan(out.obsm["atlas_distances"][[2, 70]]).all()
    assert out.obs[["atlas_label", "atlas_share", "atlas_distance"]].iloc[[2, 70]].isna().all(axis=None)
    assert out.obs.iloc[known].notna().all(axis=None)


def test_neighbors_without_a_label_count_for_no_label(adata, atlas):
    first = search(adata, atlas, n_neighbors=10)
    atlas.obs.loc[atlas.obs_names[first.obsm["atlas_indices"][0]], "cell_type"] = np.nan
    atlas.obs.loc[atlas.obs_names[first.obsm["atlas_indices"][1][:7]], "cell_type"] = np.nan
    out = search(adata, atlas, n_neighbors=10)
    assert out.obs["atlas_label"].isna().iloc[0]
    assert out.obs["atlas_share"].iloc[0] == 0
    counts = atlas.obs["cell_type"].iloc[first.obsm["atlas_indices"][1]].value_counts()
    assert out.obs["atlas_share"].iloc[1] == np.float32(counts.iloc[0] / 10)


def test_the_summary_counts_as_a_counter_does(monkeypatch):
    rng = np.random.default_rng(0)
    codes, indices = rng.integers(-1, 5, 60), rng.integers(-1, 60, (200, 7))
    monkeypatch.setattr(MODULE, "_SUMMARY_ENTRIES", 50)  # many blocks
    labels, shares = _summarize(indices, codes, 5)
    for row, label, share in zip(indices, labels, shares, strict=True):
        mine = [int(codes[i]) for i in row if i >= 0 and codes[i] >= 0]
        common = Counter(mine).most_common(1)  # keeps the order of first occurrence
        assert (label, share) == ((common[0][0], np.float32(common[0][1] / (row >= 0).sum())) if common else (-1, 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_cells_that_are_in_the_atlas_are_noticed(adata, atlas, caplog, dtype):
    both = ad.concat([adata, atlas[:15].copy()], keys=["q", "a"], index_unique="-")
    atlas.obsm["X_uce"] = atlas.obsm["X_uce"].astype(dtype)
    with caplog.at_level(logging.WARNING, "univerce"):
        found = search(both, atlas, check_space=False)
    assert found.uns["atlas"]["params"]["n_in_atlas"] == 15
    assert f"15 of {both.n_obs} cells are in the atlas" in caplog.text
    assert search(adata, atlas).uns["atlas"]["params"]["n_in_atlas"] == 0


@pytest.mark.parametrize("method", ["ivf", "hnsw", "compressed"])
def test_an_index_reports_the_recall_it_was_asked_for(adata, atlas, method):
    exact = search(adata, atlas, n_neighbors=10).obsm["atlas_indices"]
    out = search(adata, atlas, n_neighbors=10, method=method, target_recall=0.9)
    params = out.uns["atlas"]["params"]
    shared = [len(set(a) & set(b)) for a, b in zip(out.obsm["atlas_indices"], exact, strict=True)]
    assert params["n_sampled"] == 80  # all of them, so the recall is that of the result
    assert params["recall"] == pytest.approx(np.mean(shared) / 10)
    assert params["recall"] >= 0.9
    assert params["effort"] >= 1


def test_a_recall_out_of_reach_is_said(adata, atlas, caplog, monkeypatch):
    monkeypatch.setattr(MODULE, "tune", lambda *args, **options: (4, 0.8))
    search(adata, atlas, method="ivf")
    assert "finds 0.800 of the neighbors at best, below target_recall=0.95" in caplog.text


def test_an_index_is_kept_and_built_again_when_the_atlas_changes(adata, atlas, tmp_path, monkeypatch):
    path, built = tmp_path / "atlas.faiss", []
    monkeypatch.setattr(MODULE, "build_index", lambda *a, **o: built.append(a[1]) or build_index(*a, **o))
    first = search(adata, atlas, method="ivf", index=path)
    again = search(adata, atlas, method="ivf", index=path)
    assert built == ["ivf"]
    np.testing.assert_array_equal(first.obsm["atlas_indices"], again.obsm["atlas_indices"])
    atlas.obsm["X_uce"][0, 0] += 1
    search(adata, atlas, method="ivf", index=path)
    search(adata, atlas, method="hnsw", index=path)
    search(adata, atlas, method="compressed", index=path)
    search(adata, atlas, method="compressed", index=path, metric="cosine")
    assert built == ["ivf", "ivf", "hnsw", "compressed", "compressed"]
    again = search(adata, atlas, method="compressed", index=path, metric="cosine")
    assert len(built) == 5
    assert [file.name for file in tmp_path.iterdir()] == ["atlas.faiss"]
    assert again.uns["atlas"]["params"]["metric"] == "cosine"


def test_the_order_of_the_cells_changes_nothing(adata, atlas):
    order = np.random.default_rng(0).permutation(80)
    for method in ("exact", "ivf", "compressed"):
        mine, theirs = search(adata, atlas, method=method)[order], search(adata[order], atlas, method=method)
        np.testing.assert_array_equal(mine.obsm["atlas_indices"], theirs.obsm["atlas_indices"])
        pd.testing.assert_frame_equal(mine.obs, theirs.obs)


def test_centroids_are_an_atlas_too(adata, atlas):
    out = search(adata, centroids(atlas, "cell_type", min_cells=1), n_neighbors=1)
    assert (out.obs["atlas_label"].astype(str) == adata.obs["cell_type"].astype(str)).mean() > 0.8


def test_labels_can_be_left_out_and_named(adata, atlas):
    atlas.obs = atlas.obs.rename(columns={"cell_type": "kind"})
    assert list(search(adata, atlas, groupby=None).obs.columns) == ["cell_type", "atlas_distance"]
    assert search(adata, atlas, groupby="kind").uns["atlas"]["params"]["groupby"] == "kind"
    with pytest.raises(KeyError, match=r"atlas\.obs\['cell_type'\] does not exist; its columns are: 'kind'"):
        search(adata, atlas)


def test_another_space_is_refused_unless_unchecked(adata, atlas):
    other = cells(100, 2, model_digest="another")
    with pytest.raises(ValueError, match="two models"):
        search(adata, other)
    del other.uns["univerce"]
    with pytest.raises(KeyError, match=r"says which model.*check_space=False"):
        search(adata, other)
    assert "atlas_indices" in search(adata, other, check_space=False).obsm
    other.obsm["X_uce"] = other.obsm["X_uce"][:, :5]
    with pytest.raises(ValueError, match="12 columns in adata and 5 in atlas"):
        search(adata, other, check_space=False)


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
@pytest.mark.parametrize("method", ["exact", "ivf", "compressed"])
def test_distances_are_those_of_scikit_learn_for_each_metric(adata, atlas, metric, method):
    atlas.obsm["X_uce"][7] = 0
    out = search(adata, atlas, n_neighbors=15, metric=metric, method=method, target_recall=1.0)
    kept = np.delete(np.arange(900), 7)
    reference, query = (a.obsm["X_uce"].astype(float) for a in (atlas[kept], adata))
    oracle = NearestNeighbors(n_neighbors=15, algorithm="brute", metric=metric).fit(reference)
    distances, indices = oracle.kneighbors(query)
    assert out.uns["atlas"]["params"].get("recall", 1) == 1
    np.testing.assert_array_equal(out.obsm["atlas_indices"], kept[indices])
    np.testing.assert_allclose(out.obsm["atlas_distances"], distances, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["exact", "ivf", "hnsw", "compressed"])
def test_neighbors_are_sought_only_where_asked(adata, atlas, method, tmp_path):
    rng = np.random.default_rng(5)
    atlas.obs["tissue"] = pd.Categorical(rng.choice(["lung", "gut", "skin"], 900))
    atlas.obs["stage"] = rng.choice([1.0, 2.0, np.nan], 900)
    where = {"tissue": ["lung", "gut"], "stage": 2}
    kept = np.flatnonzero(atlas.obs["tissue"].isin(["lung", "gut"]) & (atlas.obs["stage"] == 2))
    options = {"n_neighbors": 20, "method": method, "target_recall": 1.0}
    options |= {} if method == "exact" else {"index": tmp_path / "i"}
    out, expected = search(adata, atlas, where=where, **options), search(adata, atlas[kept], n_neighbors=20)
    np.testing.assert_array_equal(out.obsm["atlas_indices"], kept[expected.obsm["atlas_indices"]])
    np.testing.assert_array_equal(out.obs["atlas_label"].astype(str), expected.obs["atlas_label"].astype(str))
    params = out.uns["atlas"]["params"]
    assert params["where"] == '{"tissue": ["lung", "gut"], "stage": 2}'
    assert params["n_searched"] == len(kept)
    out.write_h5ad(tmp_path / "out.h5ad")
    assert ad.read_h5ad(tmp_path / "out.h5ad").uns["atlas"]["params"] == params


@pytest.mark.parametrize(
    "value, recorded",
    [
        (np.int64(1), "1"),
        ({2, 1}, "[1, 2]"),
        (pd.Index([1]), "[1]"),
        (np.array([1, 2]), "[1, 2]"),
        ((1, 2), "[1, 2]"),
    ],
)
def test_values_to_search_are_scalars_or_collections_of_any_kind(adata, atlas, value, recorded):
    atlas.obs["stage"] = np.arange(900) % 3
    out = search(adata, atlas, n_neighbors=20, where={"stage": value})
    assert set(np.unique(out.obsm["atlas_indices"]) % 3) <= ({1} if "2" not in recorded else {1, 2})
    assert out.uns["atlas"]["params"]["where"] == f'{{"stage": {recorded}}}'


@pytest.mark.parametrize(
    "where, error, message",
    [
        (
            {"tissue": "lungs"},
            ValueError,
            r"'lungs' in atlas\.obs\['tissue'\]; its values are: 'gut', 'lung'\.",
        ),
        ({"tissue": ["lung", "x"]}, ValueError, "no cell has 'x'"),
        ({"organ": "lung"}, KeyError, r"atlas\.obs\['organ'\] does not exist; its columns are: 'cell_type', 'tissue'"),
        ({"tissue": "lung"}, ValueError, "30 neighbors .* where={'tissue': 'lung'} keeps 20 cells .* at most 20"),
        ({"tissue": []}, ValueError, "keeps 0 cells"),
        ("tissue == 'lung'", TypeError, "where must map columns of atlas.obs to values, not be a str"),
    ],
)
def test_what_cannot_be_sought_is_named(adata, atlas, where, error, message):
    atlas.obs["tissue"] = np.repeat(["lung", "gut"], [20, 880])
    with pytest.raises(error, match=message):
        search(adata, atlas, n_neighbors=30, where=where)


def test_too_few_embeddings_where_asked_are_an_error(adata, atlas):
    atlas.obs["tissue"] = np.repeat(["lung", "gut"], [40, 860])
    atlas.obsm["X_uce"][5:20] = np.nan
    for method in ("exact", "ivf", "compressed"):
        with pytest.raises(ValueError, match="30 neighbors were asked for and the reference has 25 embeddings"):
            search(adata, atlas, n_neighbors=30, where={"tissue": "lung"}, method=method)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"method": "flat"}, ValueError, "method='flat' is not known"),
        ({"metric": "l1"}, ValueError, "metric='l1' is not known; use one of 'euclidean', 'cosine', 'correlation'"),
        ({"index": "i.faiss"}, ValueError, "method='exact' has none"),
        ({"n_neighbors": 901}, ValueError, "901 neighbors .* 900 embeddings"),
        ({"n_neighbors": 901, "method": "ivf"}, ValueError, "901 neighbors"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors=0 must"),
        ({"target_recall": 0}, ValueError, "target_recall=0 must"),
        ({"use_rep": "X_pca"}, KeyError, r"obsm\['X_pca'\] does not exist"),
        ({"rng": None}, TypeError, "rng=None must"),
    ],
)
def test_invalid_options_are_errors(adata, atlas, options, error, message):
    with pytest.raises(error, match=message):
        search_atlas(adata, atlas, **options)
    assert list(adata.obsm) == ["X_uce"]


def test_nothing_to_search_is_an_error(adata, atlas, tmp_path):
    with pytest.raises(ValueError, match=r"50 neighbors .* has 0 embeddings"):
        search(adata, atlas[:0].copy(), groupby=None)
    with pytest.raises(FileNotFoundError, match=r"missing"):
        search(adata, tmp_path / "missing")
    (tmp_path / "directory").mkdir()
    (tmp_path / "text").write_text("no atlas")
    for name in ("directory", "text"):
        with pytest.raises(ValueError, match=r"AnnData"):
            search(adata, tmp_path / name)
    adata.obsm["X_uce"][:] = np.nan
    with pytest.raises(ValueError, match="No cell has an embedding"):
        search(adata, atlas)

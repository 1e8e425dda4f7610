"""uc.atlas.subset and uc.atlas.open."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import zarr

from tests.helpers.atlas_cells import embedded
from univerce import atlas
from univerce.tl.search_atlas import search_atlas


@pytest.fixture
def path(tmp_path):
    data = {"one": embedded(30, 1), "two": embedded(50, 2), "three": embedded(20, 3)}
    atlas.build(data, tmp_path / "a.zarr", groupby="cell_type", obs_keys=["tissue"])
    return tmp_path / "a.zarr"


@pytest.mark.parametrize("chunk", [7, 4096])
@pytest.mark.parametrize("where", ["query", "booleans", "series"])
def test_the_chosen_cells_are_kept_in_their_order(path, tmp_path, monkeypatch, where, chunk):
    monkeypatch.setattr("univerce.atlas._store.CHUNK_ROWS", chunk)
    whole = atlas.open(path)
    mask = (whole.obs["tissue"] == "lung") & (whole.obs["data_set"] != "three")
    chosen = {"query": "tissue == 'lung' and data_set != 'three'", "booleans": mask.to_numpy(), "series": mask}[where]
    in_memory, on_disk = atlas.subset(whole, chosen), atlas.subset(path, chosen, tmp_path / "b.zarr")
    assert isinstance(in_memory.obsm["X_uce"], np.ndarray)
    assert isinstance(on_disk.obsm["X_uce"], zarr.Array)
    expected = whole.obs[mask]
    for each in (in_memory, on_disk):
        np.testing.assert_array_equal(each.obsm["X_uce"][:], whole.obsm["X_uce"][:][mask.to_numpy()])
        assert each.obsm["X_uce"].dtype == np.float16
        pd.testing.assert_frame_equal(each.obs.astype(object), expected.astype(object))
        assert list(each.obs["tissue"].cat.categories) == ["lung"]
        sets = each.uns["univerce_atlas"]["data_sets"]
        assert sets["n_kept"].to_dict() == expected["data_set"].astype(str).value_counts()[["one", "two"]].to_dict()
        assert each.uns["univerce"]["X_uce"]["model_digest"] == "d"


def test_a_subset_is_an_atlas(path, tmp_path):
    part = atlas.subset(path, "tissue == 'lung'", tmp_path / "b.zarr")
    small = atlas.subset(part, "cell_type == 'B cell'")
    assert list(small.uns["univerce_atlas"]["selections"]) == ["tissue == 'lung'", "cell_type == 'B cell'"]
    query = embedded(5, 9)
    search_atlas(query, small, n_neighbors=2)
    assert set(query.obs["atlas_label"]) == {"B cell"}
    grown = atlas.append(tmp_path / "b.zarr", {"three again": embedded(4, 4)}, groupby="cell_type")
    assert grown.n_obs == part.n_obs + 4
    assert list(grown.uns["univerce_atlas"]["selections"]) == ["tissue == 'lung'"]


@pytest.mark.parametrize(
    "where, error, message",
    [
        ("organ == 'lung'", KeyError, r"organ.* is not defined; the columns of obs are: .*data_set"),
        ("tissue == 'skin'", ValueError, "where=\"tissue == 'skin'\" chooses no cell of"),
        ("row", ValueError, r"100 booleans, one for .*, not int64 of shape \(100,\)"),
        (np.ones(99, dtype=bool), ValueError, r"100 booleans, one for .*, not bool of shape \(99,\)"),
        (pd.Series([True] * 100), ValueError, "are for other cells"),
    ],
)
def test_an_invalid_choice_is_an_error(path, tmp_path, where, error, message):
    with pytest.raises(error, match=message):
        atlas.subset(path, where, tmp_path / "b.zarr")
    assert not (tmp_path / "b.zarr").exists()


def test_a_subset_overwrites_nothing(path):
    with pytest.raises(FileExistsError, match="exists; choose another path"):
        atlas.subset(path, "row < 3", path)
    assert atlas.open(path).n_obs == 100


def test_opening_reads_no_embedding_unless_asked(path):
    lazy, whole = atlas.open(path), atlas.open(str(path), lazy=False)
    assert isinstance(lazy.obsm["X_uce"], zarr.Array)
    assert isinstance(whole.obsm["X_uce"], np.ndarray)
    np.testing.assert_array_equal(lazy[10:20].obsm["X_uce"], whole.obsm["X_uce"][10:20])
    mask = (lazy.obs["tissue"] == "lung").to_numpy()
    np.testing.assert_array_equal(lazy[mask].copy().obsm["X_uce"], whole.obsm["X_uce"][mask])
    pd.testing.assert_frame_equal(lazy.obs, whole.obs)
    with pytest.raises(ValueError, match="read"):
        lazy.obsm["X_uce"][0] = 1
    with pytest.raises(FileNotFoundError, match=r"missing\.zarr"):
        atlas.open(path.with_name("missing.zarr"))


def test_other_anndata_is_no_atlas(path, tmp_path):
    cells = embedded()
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match=r"cells\.h5ad' is not an atlas: it has no uns\['univerce_atlas'\]"):
        atlas.open(tmp_path / "cells.h5ad")
    with pytest.raises(ValueError, match="atlas is not an atlas"):
        atlas.subset(cells, "donor == 1")

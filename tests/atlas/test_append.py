"""uc.atlas.append: old rows stay, new ones follow, and what does not belong is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.helpers.atlas_cells import counted, embedded
from univerce import atlas
from univerce.io.files import embedding_digest

OPTIONS = {"groupby": "cell_type"}


@pytest.fixture
def path(tmp_path):
    atlas.build({"one": embedded(30, 1)}, tmp_path / "a.zarr", **OPTIONS)
    return tmp_path / "a.zarr"


def names(path) -> set[str]:
    return {each.name for each in path.parent.iterdir() if not each.name.endswith(".lock")}


def test_appending_gives_what_building_at_once_does(path, tmp_path):
    mouse = embedded(20, 3, table_digest={"mouse": "m"}, species=["mouse"])
    out = atlas.append(path, {"two": embedded(50, 2), "three": mouse}, **OPTIONS)
    data = {"one": embedded(30, 1), "two": embedded(50, 2), "three": mouse}
    at_once = atlas.build(data, tmp_path / "b.zarr", **OPTIONS)
    pd.testing.assert_frame_equal(out.obs, at_once.obs)
    np.testing.assert_array_equal(out.obsm["X_uce"][:], at_once.obsm["X_uce"][:])
    pd.testing.assert_frame_equal(out.uns["univerce_atlas"]["data_sets"], at_once.uns["univerce_atlas"]["data_sets"])
    assert out.uns["univerce"]["X_uce"]["table_digest"] == {"human": "t", "mouse": "m"}
    assert list(out.uns["univerce"]["X_uce"]["species"]) == ["human", "mouse"]
    assert embedding_digest(out.obsm["X_uce"]) == embedding_digest(at_once.obsm["X_uce"])
    assert names(path) == {"a.zarr", "b.zarr"}


def test_chunks_are_filled_across_data_sets(tmp_path, monkeypatch):
    monkeypatch.setattr("univerce.atlas._store.CHUNK_ROWS", 7)
    first, second = embedded(30, 1), embedded(25, 2)
    atlas.build({"one": first}, tmp_path / "a.zarr", **OPTIONS)
    out = atlas.append(tmp_path / "a.zarr", {"two": second}, **OPTIONS)
    assert out.obsm["X_uce"].chunks == (7, 6)
    expected = np.concatenate([first.obsm["X_uce"], second.obsm["X_uce"]]).astype(np.float16)
    np.testing.assert_array_equal(out.obsm["X_uce"][:], expected)


def test_columns_of_one_side_are_missing_on_the_other(path):
    out = atlas.append(path, {"two": embedded(5, 2)}, obs_keys="tissue", **OPTIONS)
    assert out.obs["tissue"].isna().sum() == 30
    assert out.obs["tissue"].notna().sum() == 5
    again = atlas.append(path, {"three": embedded(5, 3)}, **(OPTIONS | {"groupby": None}))
    assert list(again.obs.columns) == list(out.obs.columns)
    assert again.obs["cell_type"].isna().sum() == 5
    pd.testing.assert_frame_equal(again.obs[:35].astype(object), out.obs.astype(object))


def test_the_map_of_coarse_types_is_that_of_the_atlas(tmp_path):
    coarse = {"B cell": "lymphocyte", "T cell": "lymphocyte", "macrophage": "myeloid"}
    atlas.build({"one": embedded(9, 1)}, tmp_path / "a.zarr", coarse_map=coarse, **OPTIONS)
    out = atlas.append(tmp_path / "a.zarr", {"two": embedded(9, 2)}, **OPTIONS)
    assert list(out.obs["coarse_type"]) == [coarse[each] for each in out.obs["cell_type"]]


def test_an_open_atlas_keeps_its_cells(path):
    before = atlas.open(path)
    values = before.obsm["X_uce"][:]
    atlas.append(path, {"two": embedded(50, 2)}, **OPTIONS)
    np.testing.assert_array_equal(before.obsm["X_uce"][:], values)


def test_new_cells_are_embedded(tmp_path, tiny_model):
    options = OPTIONS | {"model": tiny_model, "min_counts": None}
    atlas.build({"human": counted("human", 12)}, tmp_path / "a.zarr", **options)
    out = atlas.append(tmp_path / "a.zarr", {"mouse": counted("mouse", 8)}, **options)
    assert out.obs["species"].value_counts().to_dict() == {"human": 12, "mouse": 8}
    assert set(out.uns["univerce"]["X_uce"]["table_digest"]) == {"human", "mouse"}
    with pytest.raises(ValueError, match=r"data\['other'\] cannot join.*10 columns|6 columns in data\['other'\]"):
        atlas.append(tmp_path / "a.zarr", {"other": embedded()}, **options)


@pytest.mark.parametrize(
    "data, options, error, message",
    [
        (lambda: {"one": embedded()}, {}, ValueError, "already has a data set 'one'"),
        (lambda: {"b": embedded(9, 2, model_digest="x")}, {}, ValueError, r"data\['b'\] cannot.*two models"),
        (lambda: {"b": counted()}, {"model": None}, KeyError, "does not exist, and with model=None"),
        (lambda: {"b": embedded()}, {"groupby": "type"}, KeyError, r"obs\['type'\]"),
    ],
)
def test_other_data_are_refused_and_change_nothing(path, data, options, error, message):
    before = {f: f.read_bytes() for f in path.rglob("*") if f.is_file()}
    with pytest.raises(error, match=message):
        atlas.append(path, data(), **(OPTIONS | options))
    assert {f: f.read_bytes() for f in path.rglob("*") if f.is_file()} == before
    assert names(path) == {"a.zarr"}


def test_an_interrupted_append_leaves_the_atlas_as_it_was(path, monkeypatch):
    before = {f: f.read_bytes() for f in path.rglob("*") if f.is_file()}

    def stop(self, uns):
        raise KeyboardInterrupt

    monkeypatch.setattr("univerce.atlas._store.Writer.finish", stop)
    with pytest.raises(KeyboardInterrupt):
        atlas.append(path, {"two": embedded(50, 2)}, **OPTIONS)
    assert {f: f.read_bytes() for f in path.rglob("*") if f.is_file()} == before
    assert names(path) == {"a.zarr"}


def test_an_atlas_whose_writer_was_killed_between_two_names_is_put_back(path):
    path.rename(path.with_name(".a.zarr.old"))
    assert atlas.open(path).n_obs == 30
    assert names(path) == {"a.zarr"}
    path.rename(path.with_name(".a.zarr.old"))
    assert atlas.append(path, {"two": embedded(5, 2)}, **OPTIONS).n_obs == 35
    path.rename(path.with_name(".a.zarr.old"))
    with pytest.raises(FileExistsError):
        atlas.build(embedded(), path, **OPTIONS)
    assert atlas.open(path).n_obs == 35


def test_a_missing_atlas_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.zarr"):
        atlas.append(tmp_path / "no" / "a.zarr", embedded(), **OPTIONS)
    assert names(tmp_path / "x") == set()


def test_an_unchecked_atlas_records_no_space(path):
    new = embedded(20, 2)
    del new.uns["univerce"]
    atlas.append(path, {"two": new}, check_space=False, **OPTIONS)
    assert "univerce" not in atlas.open(path).uns
    with pytest.raises(KeyError, match=r"atlas.uns\['univerce'\]\['X_uce'\] .* check_space=False"):
        atlas.append(path, {"three": embedded(10, 3)}, **OPTIONS)
    again = atlas.append(path, {"three": embedded(10, 3)}, check_space=False, **OPTIONS)
    assert again.n_obs == 60

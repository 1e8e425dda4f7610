"""uc.atlas.build: which cells are kept, what is known of them, and what it refuses."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import write_elem

import univerce as uc
from tests.helpers.atlas_cells import PARAMS, counted, embedded
from univerce import atlas
from univerce.tl.alignment.centroids import centroids
from univerce.tl.search_atlas import search_atlas


def build(data, path, **options) -> ad.AnnData:
    return atlas.build(data, path, **({"groupby": "cell_type"} | options))


def names(directory: Path) -> set[str]:
    """What lies there, but for locks."""
    return {each.name for each in directory.iterdir() if not each.name.endswith(".lock")}


def test_an_atlas_holds_the_embedding_and_what_is_known_of_the_cells(tmp_path):
    data = {"one": embedded(30, 1), "two": embedded(50, 2)}
    out = build(data, tmp_path / "a.zarr", obs_keys={"tissue": "tissue", "donor": {"two": "donor"}})
    assert out.shape == (80, 0)
    assert isinstance(out.obsm["X_uce"], zarr.Array)
    assert out.obsm["X_uce"].dtype == np.float16
    obs = out.obs
    assert list(obs.columns) == ["data_set", "obs_name", "row", "cell_type", "tissue", "donor", "species"]
    for name, source in data.items():
        mine = (obs["data_set"] == name).to_numpy()
        np.testing.assert_array_equal(out.obsm["X_uce"][:][mine], source.obsm["X_uce"].astype(np.float16))
        assert list(obs["obs_name"][mine]) == list(source.obs_names)
        assert list(obs.index[mine]) == [f"{name}:{cell}" for cell in source.obs_names]
        np.testing.assert_array_equal(obs["row"][mine], np.arange(source.n_obs))
        for column in ("cell_type", "tissue"):
            assert list(obs[column][mine]) == list(source.obs[column])
    assert obs["donor"].isna().sum() == 30
    assert list(obs["donor"].dropna()) == list(data["two"].obs["donor"].astype(str))
    assert set(obs["species"]) == {"human"}
    assert all(isinstance(obs[c].dtype, pd.CategoricalDtype) for c in ("data_set", "cell_type", "tissue", "species"))


def test_an_atlas_says_where_it_comes_from(tmp_path):
    embedded(30, 1, counts=True).write_h5ad(tmp_path / "one.h5ad")
    out = build([tmp_path / "one.h5ad", embedded(50, 2)], tmp_path / "a.zarr", max_cells_per_dataset=9, rng=3)
    sets = out.uns["univerce_atlas"]["data_sets"]
    assert list(sets.index) == ["one", "data_1"]
    assert list(sets["source"]) == [str(tmp_path / "one.h5ad"), "AnnData"]
    assert list(sets["n_cells"]) == [30, 50]
    assert list(sets["n_kept"]) == [9, 9]
    assert sets["min_counts"].iloc[0] == 200
    assert np.isnan(sets["min_counts"].iloc[1])  # it has no counts
    assert set(sets["model_digest"]) == {"d"}
    assert set(sets["seed"]) == {"3"}
    assert set(sets["table_digest"]) == {"human t"}
    assert set(sets["univerce_version"]) == {uc.__version__}
    params = out.uns["univerce"]["X_uce"]
    assert {key: params[key] for key in ("model", "model_digest", "table_digest")} == {
        key: PARAMS[key] for key in ("model", "model_digest", "table_digest")
    }
    back = ad.read_zarr(tmp_path / "a.zarr")
    pd.testing.assert_frame_equal(back.obs, out.obs)
    back.write_h5ad(tmp_path / "copy.h5ad")
    pd.testing.assert_frame_equal(ad.read_h5ad(tmp_path / "copy.h5ad").uns["univerce_atlas"]["data_sets"], sets)


def test_files_give_the_same_as_anndata_in_memory(tmp_path, tiny_model):
    data = {"x": embedded(60, 1, counts=True), "y": embedded(60, 2)}
    data["x"].write_h5ad(tmp_path / "x.h5ad")
    write_elem(zarr.open_group(tmp_path / "y.zarr", mode="w", zarr_format=2), "/", data["y"])
    mine = build(data, tmp_path / "a.zarr", max_cells_per_dataset=20)
    theirs = build([tmp_path / "x.h5ad", str(tmp_path / "y.zarr")], tmp_path / "b.zarr", max_cells_per_dataset=20)
    pd.testing.assert_frame_equal(mine.obs, theirs.obs)
    np.testing.assert_array_equal(mine.obsm["X_uce"][:], theirs.obsm["X_uce"][:])


def test_the_sample_depends_on_seed_and_names_alone(tmp_path):
    cells = embedded(200)
    shuffled = cells[np.random.default_rng(0).permutation(200)].copy()

    def kept(data, k=50, **options) -> set[str]:
        path = tmp_path / f"{len(names(tmp_path))}.zarr"
        out = build(data, path, max_cells_per_dataset=k, **options)
        assert list(out.obs["row"]) == sorted(out.obs["row"])
        return set(out.obs["obs_name"])

    first = kept({"a": cells})
    assert len(first) == 50
    assert kept({"b": shuffled}) == first
    assert kept({"a": cells}, rng=1) != first
    assert kept({"a": cells}, 60) > first
    assert kept({"a": cells}, None) == set(cells.obs_names)


def test_what_is_not_embedded_is_embedded_after_it_is_chosen(tmp_path, tiny_model, monkeypatch):
    human, mouse = counted("human", 40, empty=(3,)), counted("mouse", 40)
    human.write_h5ad(tmp_path / "human.h5ad")
    seen = []
    embed = uc.tl.uce_embed
    monkeypatch.setattr("univerce.atlas._collect.uce_embed", lambda a, **o: seen.append(a.n_obs) or embed(a, **o))
    out = build(
        {"h": tmp_path / "human.h5ad", "m": mouse}, tmp_path / "a.zarr", model=tiny_model, max_cells_per_dataset=25,
        min_counts=1, rng=4,
    )  # fmt: skip
    assert seen == [25, 25]
    for name, source in {"h": human, "m": mouse}.items():
        source = source[[i for i in range(40) if (name, i) != ("h", 3)]].copy()
        embed(source, model=tiny_model, rng=4)
        mine = (out.obs["data_set"] == name).to_numpy()
        expected = source[out.obs["obs_name"][mine]].obsm["X_uce"]
        np.testing.assert_allclose(out.obsm["X_uce"][:][mine], expected, atol=1e-3)
        assert set(out.obs["species"][mine]) == {"human" if name == "h" else "mouse"}
    assert "X_uce" not in mouse.obsm
    assert set(out.uns["univerce"]["X_uce"]["table_digest"]) == {"human", "mouse"}
    assert list(out.uns["univerce_atlas"]["data_sets"]["embedded"]) == ["here", "here"]
    assert out.n_obs - out.uns["univerce_atlas"]["data_sets"]["n_kept"].sum() == 0


def test_embedded_and_new_data_of_one_model_join(tmp_path, tiny_model):
    before = counted("human", 20, seed=1)
    uc.tl.uce_embed(before, model=tiny_model)
    data = {"new": counted("mouse", 20), "before": before}
    out = build(data, tmp_path / "a.zarr", model=tiny_model, min_counts=None)
    assert list(out.uns["univerce_atlas"]["data_sets"]["embedded"]) == ["here", "before"]
    query = counted("human", 5, seed=2)
    uc.tl.uce_embed(query, model=tiny_model)
    search_atlas(query, tmp_path / "a.zarr", n_neighbors=3)
    assert query.obs["atlas_label"].notna().all()
    assert list(centroids(out, ["data_set", "cell_type"], min_cells=1).obs["n_cells"]) == [7, 7, 6, 7, 7, 6]


def test_cells_with_few_counts_are_left_out(tmp_path, caplog):
    cells = embedded(60, counts=True)
    totals = np.asarray(cells.X.sum(axis=1)).ravel()
    assert 10 < (totals >= 200).sum() < 50
    out = build({"a": cells}, tmp_path / "a.zarr")
    np.testing.assert_array_equal(out.obs["row"], np.flatnonzero(totals >= 200))
    assert out.uns["univerce_atlas"]["data_sets"]["n_enough_counts"].iloc[0] == (totals >= 200).sum()
    assert build({"a": cells}, tmp_path / "b.zarr", min_counts=None).n_obs == 60
    cells.layers["counts"], cells.X = cells.X, cells.X * 0.01
    assert build({"a": cells}, tmp_path / "c.zarr", layer="counts").n_obs == out.n_obs
    assert not caplog.records
    assert build({"a": cells}, tmp_path / "d.zarr").n_obs == 60
    assert "min_counts=200 is not applied without counts: adata.X holds values that are not whole" in caplog.text


def test_cells_without_an_embedding_are_left_out_and_those_without_a_label_kept(tmp_path, caplog):
    cells = embedded(30)
    cells.obsm["X_uce"][[0, 7]] = np.nan
    cells.obs.loc[["cell 1", "cell 2"], "cell_type"] = np.nan
    with caplog.at_level(logging.INFO, logger="univerce"):
        out = build(
            {"a": cells, "unlabeled": embedded(9)}, tmp_path / "a.zarr", groupby={"a": "cell_type", "unlabeled": None}
        )
    assert "2 cells without an embedding are left out" in caplog.text
    assert out.uns["univerce_atlas"]["data_sets"]["n_unembedded"].iloc[0] == 2
    assert out.n_obs == 28 + 9
    assert np.isfinite(out.obsm["X_uce"][:]).all()
    assert list(out.obs["row"][:28]) == [i for i in range(30) if i not in (0, 7)]
    assert out.obs["cell_type"].isna().to_numpy().nonzero()[0].tolist() == [0, 1, *range(28, 37)]
    assert "cell_type" not in build(cells, tmp_path / "b.zarr", groupby=None).obs


def test_coarse_types_come_from_the_map(tmp_path, caplog):
    cells = embedded(30)
    out = build({"a": cells}, tmp_path / "a.zarr", coarse_map={"B cell": "lymphocyte", "T cell": "lymphocyte"})
    expected = cells.obs["cell_type"].astype(str).map({"B cell": "lymphocyte", "T cell": "lymphocyte"})
    assert list(out.obs["coarse_type"].astype(object).fillna("")) == list(expected.fillna(""))
    assert "1 types are not in coarse_map and have no coarse type: 'macrophage'" in caplog.text
    assert dict(out.uns["univerce_atlas"]["coarse_map"].to_numpy()) == {"B cell": "lymphocyte", "T cell": "lymphocyte"}


def test_embeddings_of_other_methods_join_unchecked(tmp_path):
    data = {name: embedded(20, seed) for seed, name in enumerate("ab")}
    for each in data.values():
        each.obsm["X_scVI"] = each.obsm.pop("X_uce")
        del each.uns["univerce"]
    with pytest.raises(KeyError, match=r"data\['a'\] cannot join.*says which model.*check_space=False"):
        build(data, tmp_path / "a.zarr", use_rep="X_scVI")
    out = build(data, tmp_path / "a.zarr", use_rep="X_scVI", check_space=False)
    assert out.obsm["X_scVI"].shape == (40, 6)
    assert set(out.uns) == {"univerce_atlas"}
    assert out.obs["species"].isna().all()
    data["c"] = counted()
    with pytest.raises(KeyError, match=r"data\['c'\].obsm\['X_scVI'\] does not exist, and with check_space=False"):
        build(data, tmp_path / "b.zarr", use_rep="X_scVI", check_space=False)
    data["a"].obsm["X_scVI"][0, 0] = 1e6
    with pytest.raises(ValueError, match=r"values beyond the range of float16: 1e\+06"):
        build({"a": data["a"]}, tmp_path / "b.zarr", use_rep="X_scVI", check_space=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: setattr(a, "X", a.X.astype(float) / 2), r"data\['b'\]: adata.X holds values that are not whole"),
        (lambda a: setattr(a, "var_names", [f"not a gene {i}" for i in range(a.n_vars)]), r"data\['b'\]: .*none of"),
    ],
    ids=["values", "genes"],
)
def test_values_and_genes_are_checked_before_anything_is_embedded(tmp_path, tiny_model, monkeypatch, change, message):
    monkeypatch.setattr("univerce.atlas._collect.uce_embed", lambda *a, **o: pytest.fail("embedded"))
    good, bad = counted(), counted()
    change(bad)
    with pytest.raises(ValueError, match=message):
        build({"a": good, "b": bad}, tmp_path / "a.zarr", model=tiny_model)
    assert names(tmp_path) == set()


def test_mixed_spaces_are_refused_before_anything_is_embedded(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr("univerce.atlas._collect.uce_embed", lambda *a, **o: pytest.fail("embedded"))
    one, other = embedded(10, 1), embedded(10, 2, model_digest="another")
    with pytest.raises(ValueError, match=r"data\['b'\] cannot join the atlas.*two models"):
        build({"a": one, "b": other}, tmp_path / "a.zarr")
    one.obsm["X_uce"] = np.zeros((10, 10))  # as wide as those of the model
    with pytest.raises(ValueError, match=r"data\['b'\] cannot join the atlas.*two models"):
        build({"a": counted(), "b": one}, tmp_path / "a.zarr", model=tiny_model)
    other = embedded(10, 2, table_digest={"human": "another"})
    with pytest.raises(ValueError, match=r"data\['b'\] cannot join the atlas.*two gene tables of human"):
        build({"a": embedded(10, 1), "b": other}, tmp_path / "a.zarr")
    other.obsm["X_uce"] = other.obsm["X_uce"][:, :4]
    with pytest.raises(ValueError, match=r"4 columns in data\['b'\] and 6 in the data sets before it"):
        build({"a": embedded(10, 1), "b": other}, tmp_path / "a.zarr", check_space=False)
    assert names(tmp_path) == set()


def _repeated(adata: ad.AnnData) -> ad.AnnData:
    adata.obs_names = ["same"] * adata.n_obs
    return adata


def _without_labels(adata: ad.AnnData) -> ad.AnnData:
    adata.obs["cell_type"] = pd.Categorical([np.nan] * adata.n_obs)
    return adata


@pytest.mark.parametrize(
    "data, options, error, message",
    [
        (list, {}, ValueError, "data is empty"),
        (lambda: {"a": embedded()[:0].copy()}, {}, ValueError, "has no cells"),
        (lambda: {"a": _repeated(embedded())}, {}, ValueError, "several cells named 'same'"),
        (lambda: ["x/s.h5ad", "y/s.h5ad"], {}, ValueError, "Two data sets are named 's'"),
        (lambda: ["missing.h5ad"], {}, FileNotFoundError, "'missing' is not at"),
        (lambda: {"a": np.zeros(3)}, {}, TypeError, "AnnData or a path, not ndarray"),
        (lambda: {"a": embedded()}, {"groupby": "type"}, KeyError, r"\['a'\].*'cell_type'"),
        (lambda: {"a": embedded()}, {"groupby": {}}, KeyError, "groupby has no entry .* 'a'"),
        (lambda: {"a": embedded()}, {"obs_keys": ["who"]}, KeyError, r"data\['a'\].obs\['who'\]"),
        (lambda: {"a": embedded()}, {"obs_keys": ["row"]}, ValueError, "names 'row', a column that the atlas writes"),
        (lambda: {"a": embedded()}, {"obs_keys": {"tissue": {"b": "x"}}}, ValueError, "tissue names the data set 'b'"),
        (lambda: {"a": _without_labels(embedded())}, {}, ValueError, "no label at all"),
        (lambda: {"a": counted()}, {"model": None}, KeyError, "with model=None it is not"),
        (lambda: {"a": ad.AnnData(obs=embedded().obs)}, {}, ValueError, "neither an embedding"),
        (lambda: {"a": embedded(counts=True)}, {"min_counts": 999}, ValueError, "atlas would be empty"),
        (embedded, {"min_counts": -1}, ValueError, "min_counts=-1 must"),
        (embedded, {"max_cells_per_dataset": 0}, ValueError, "max_cells_per_dataset=0 must"),
        (embedded, {"species": "dragon"}, ValueError, "dragon"),
    ],
)
def test_invalid_data_and_options_are_errors_and_leave_nothing(tmp_path, data, options, error, message):
    with pytest.raises(error, match=message):
        build(data(), tmp_path / "a.zarr", **options)
    assert names(tmp_path) == set()


def test_a_data_set_without_kept_cells_is_logged_and_recorded(tmp_path, caplog):
    few = embedded(10, counts=True)
    few.X = few.X.multiply(0).tocsr().astype(int)
    out = build({"few": few, "a": embedded(10)}, tmp_path / "a.zarr")
    assert "data['few'] adds no cell to the atlas: none of 10 is left" in caplog.text
    assert list(out.uns["univerce_atlas"]["data_sets"]["n_kept"]) == [0, 10]


def test_an_existing_path_is_not_overwritten(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(FileExistsError, match=r"exists; choose another path.*uc\.atlas\.append"):
        build(embedded(), tmp_path / "a.zarr")
    assert list((tmp_path / "a.zarr").iterdir()) == []


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
    def stop(self, uns):
        raise KeyboardInterrupt

    monkeypatch.setattr("univerce.atlas._store.Writer.finish", stop)
    with pytest.raises(KeyboardInterrupt):
        build(embedded(), tmp_path / "a.zarr")
    assert names(tmp_path) == set()


HOLD = """
import sys, time
from pathlib import Path
from univerce.atlas._store import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def held(tmp_path):
    """Another process that writes the atlas for some seconds."""
    processes = []

    def hold(seconds: float) -> Path:
        command = [sys.executable, "-c", HOLD, str(tmp_path / "a.zarr"), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return tmp_path / "a.zarr"

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_an_atlas_that_another_process_writes_is_refused(held, monkeypatch):
    path = held(60)
    monkeypatch.setattr("univerce.atlas._store.LOCK_SECONDS", 0.0)
    with pytest.raises(TimeoutError, match=r"Another process is writing .*a\.zarr.* within 0 seconds"):
        build(embedded(), path)
    assert not path.exists()


@pytest.mark.slow
def test_build_waits_for_another_process(held):
    path = held(0.5)
    assert build(embedded(), path).n_obs == 40


def test_the_same_build_gives_the_same_bytes(tmp_path):
    data = {"x": embedded(60, 1, counts=True), "y": embedded(60, 2)}
    for name in ("a", "b"):
        build(data, tmp_path / name / "atlas.zarr", max_cells_per_dataset=20)

    def content(file: Path) -> object:  # old releases of zarr list what is in the consolidated metadata in any order
        return json.loads(file.read_text()) if file.name == ".zmetadata" else file.read_bytes()

    files = [
        {f.relative_to(tmp_path / name): content(f) for f in (tmp_path / name / "atlas.zarr").rglob("*") if f.is_file()}
        for name in ("a", "b")
    ]
    assert files[0] == files[1]
    assert len(files[0]) > 20


def test_real_cells_make_an_atlas_that_knows_its_own_kind(tmp_path, test_data):
    """Sorted blood cells, every other one in the atlas; the others find their type again."""
    cells = ad.read_h5ad(test_data / "eval" / "human_pbmc_sorted_zheng_mudan.h5ad")
    rows = np.random.default_rng(0).choice(cells.n_obs, min(400, cells.n_obs), replace=False)
    cells = cells[rows].copy()
    half = cells.n_obs // 2
    out = build({"blood": cells[:half].copy()}, tmp_path / "a.zarr", species="human", min_counts=None)
    query = cells[half:].copy()
    uc.tl.uce_embed(query, species="human")
    search_atlas(query, out, n_neighbors=10)
    found = query.obs["atlas_label"].astype(str).to_numpy() == query.obs["cell_type"].astype(str).to_numpy()
    commonest = query.obs["cell_type"].value_counts(normalize=True).iloc[0]
    assert found.mean() > commonest + 0.2


@pytest.mark.parametrize("silent", ["a", "b"])
def test_unchecked_data_sets_need_no_recorded_space(tmp_path, silent):
    data = {"a": embedded(10, 1), "b": embedded(20, 2)}
    del data[silent].uns["univerce"]
    out = build(data, tmp_path / "a.zarr", check_space=False)
    assert out.n_obs == 30
    assert "univerce" not in out.uns

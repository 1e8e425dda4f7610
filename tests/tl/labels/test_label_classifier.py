"""uc.tl.LabelClassifier: fitting, saving and loading."""

from __future__ import annotations

import logging
import pickle
import tracemalloc

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, top_k_accuracy_score
from sklearn.pipeline import make_pipeline

from tests.helpers.blobs import OneScale, blobs
from univerce.embeddings import cells as _cells
from univerce.io import workers as _cluster
from univerce.io.files import open_anndata
from univerce.tl.labels import _prepare
from univerce.tl.labels.calibration import fit_temperature
from univerce.tl.labels.label_classifier import LabelClassifier

SIZES = {"T": 80, "B": 40, "NK": 25, "DC": 12}
METHODS = ["logistic", "knn", "centroid"]
COLORS = ["#000001", "#000002", "#000003", "#000004"]


def fit(reference, **options) -> LabelClassifier:
    return LabelClassifier.fit(reference, **{"groupby": "type", "use_rep": "X_toy"} | options)


@pytest.fixture
def reference():
    return blobs(SIZES)


@pytest.fixture
def query():
    return blobs(SIZES, seed=1).obsm["X_toy"]


def test_probabilities_are_those_of_scikit_learn_at_the_temperature(reference, query):
    classifier = fit(reference)
    oracle = make_pipeline(OneScale(), LogisticRegression(max_iter=1000))
    oracle.fit(reference.obsm["X_toy"], reference.obs["type"].cat.codes)
    expected = softmax(oracle.predict_log_proba(query) / classifier.params["temperature"], axis=1)
    found = classifier.predict_proba(query)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert classifier.classes.index.tolist() == list(SIZES)


def test_held_out_cells_come_from_other_batches(reference):
    """Every batch is predicted by scikit-learn's pipeline fitted on the other two."""
    reference = reference[np.argsort(reference.obs_names)].copy()
    classifier = fit(reference, batch_key="batch")
    x, y = reference.obsm["X_toy"], reference.obs["type"].cat.codes.to_numpy()
    log_proba = np.empty((len(y), 4))
    for batch in ("b0", "b1", "b2"):
        here = (reference.obs["batch"] == batch).to_numpy()
        oracle = make_pipeline(OneScale(), LogisticRegression(max_iter=1000)).fit(x[~here], y[~here])
        log_proba[here] = oracle.predict_log_proba(x[here])
    scores, best = classifier.scores, log_proba.argmax(axis=1)
    assert classifier.params["temperature"] == pytest.approx(fit_temperature(log_proba, y), rel=1e-3)
    assert scores["accuracy"] == pytest.approx(np.mean(best == y))
    assert scores["macro_f1"] == pytest.approx(f1_score(y, best, average="macro"))
    assert scores["top_3_accuracy"] == pytest.approx(top_k_accuracy_score(y, log_proba, k=3))
    np.testing.assert_allclose(classifier.classes["f1"], f1_score(y, best, average=None))
    assert classifier.classes["n_held_out"].tolist() == list(SIZES.values())
    assert classifier.classes["n_batches"].tolist() == [3, 3, 3, 3]
    assert (scores["n_cells"], scores["n_never_held_out"]) == (len(y), 0)
    table = scores["reliability"]
    error = np.abs(table["confidence"] - table["accuracy"]).fillna(0) @ table["n_cells"] / len(y)
    assert scores["ece_after"] == pytest.approx(error)


def test_calibration_lowers_the_error_of_an_overconfident_classifier():
    classifier = fit(blobs({"A": 150, "B": 150, "C": 150}, n_dims=60, spread=4.0))
    assert classifier.params["temperature"] > 1.5
    assert classifier.scores["ece_after"] < 0.5 * classifier.scores["ece_before"]


def test_a_label_of_one_batch_is_named_and_fitted_but_has_no_score(reference, caplog):
    reference.obs["batch"] = reference.obs["batch"].where(reference.obs["type"] != "DC", "b0")
    classifier = fit(reference, batch_key="batch")
    assert "DC" in classifier.classes.index
    assert classifier.scores["n_never_held_out"] == SIZES["DC"]
    assert set(classifier.held_out["label"]) == {0, 1, 2}
    assert classifier.classes["n_held_out"]["DC"] == 0
    assert np.isnan(classifier.classes["recall"]["DC"])
    assert "1 labels occur in one batch only" in caplog.text
    assert "another: 'DC'." in caplog.text


@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_classifier_predicts_the_same_bytes(reference, query, method, tmp_path):
    reference.obs["id"] = reference.obs["type"].map({"T": "CL:1", "B": "CL:2"})
    reference.obs.loc[reference.obs_names[:3], "type"] = np.nan
    reference.obs["type"] = reference.obs["type"].cat.add_categories("rare")
    reference.obs.loc[reference.obs_names[3], "type"] = "rare"
    classifier = fit(reference, method=method, ontology_ids="id", batch_key="batch", min_cells=5)
    for name in ("c.h5ad", "d.h5ad"):
        classifier.save(tmp_path / name)
        again = LabelClassifier.load(tmp_path / name)
        assert again.predict_proba(query).tobytes() == classifier.predict_proba(query).tobytes()
        pd.testing.assert_frame_equal(again.classes, classifier.classes, check_names=False, check_index_type=False)
        pd.testing.assert_frame_equal(again.left_out, classifier.left_out, check_names=False)
        assert again.params == classifier.params
        assert again.space.record == classifier.space.record
        np.testing.assert_array_equal(again.held_out["probability"], classifier.held_out["probability"])
        assert again.scores["accuracy"] == classifier.scores["accuracy"]
        classifier = again
    assert classifier.left_out["n_cells"].to_dict() == {"rare": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.h5ad", "d.h5ad"]
    adata = ad.read_h5ad(tmp_path / "c.h5ad")
    assert adata.obs["n_cells"].to_dict() == classifier.classes["n_cells"].to_dict()


def test_a_failed_save_keeps_the_old_file(reference, tmp_path, monkeypatch):
    path = tmp_path / "c.h5ad"
    fit(reference).save(path)
    before = path.read_bytes()

    def fail(self, name, **options):
        name.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(ad.AnnData, "write_h5ad", fail)
    with pytest.raises(OSError, match="disk full"):
        fit(reference).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.h5ad"]


def test_other_files_are_refused(reference, tmp_path):
    reference.write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "p.h5ad").write_bytes(pickle.dumps({"a": 1}))
    for name in ("a.h5ad", "p.h5ad"):
        with pytest.raises(ValueError, match="is not a saved classifier"):
            LabelClassifier.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="There is no classifier at"):
        LabelClassifier.load(tmp_path / "nowhere.h5ad")
    with pytest.raises(ValueError, match=r"must end in \.h5ad"):
        fit(reference).save(tmp_path / "c.pkl")
    fit(reference).save(tmp_path / "c.h5ad")
    with h5py.File(tmp_path / "c.h5ad", "a") as file:
        file["uns/label_classifier/format"][()] = 99
    with pytest.raises(ValueError, match="saved in format 99; this version reads 4"):
        LabelClassifier.load(tmp_path / "c.h5ad")


@pytest.mark.parametrize("method", METHODS)
def test_cells_are_read_in_blocks_from_any_container(reference, query, method, monkeypatch, tmp_path):
    classifier = fit(reference, method=method)
    query[5] = np.nan
    query[17, 2] = np.inf
    whole = classifier.predict_proba(query)
    assert np.flatnonzero(np.isnan(whole).any(axis=1)).tolist() == [5, 17]
    np.testing.assert_allclose(np.delete(whole, [5, 17], axis=0).sum(axis=1), 1, rtol=1e-6)
    monkeypatch.setattr(_cluster, "READ_ROWS", 11)
    monkeypatch.setattr(_prepare, "ROUNDED_ROWS", 7)
    stored = zarr.create_array(tmp_path / "z.zarr", shape=query.shape, dtype="f4", chunks=(20, 8))
    stored[:] = query
    for rep in (query, stored):
        np.testing.assert_allclose(classifier.predict_proba(rep), whole, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["zarr", "h5ad"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_a_reference_on_disk_is_read_in_blocks(reference, query, suffix, tmp_path, monkeypatch):
    path = tmp_path / f"atlas.{suffix}"
    reference.uns["type_colors"] = COLORS
    getattr(reference, f"write_{suffix}")(path)
    monkeypatch.setattr(_cells, "BLOCK_ROWS", 13)
    found = fit(path)
    assert found.predict_proba(query).tobytes() == fit(reference).predict_proba(query).tobytes()
    assert found.classes["color"].tolist() == COLORS
    assert found.space.model == "toy"


def test_max_cells_limits_the_cells_of_a_label(reference):
    classifier = fit(reference, max_cells=20)
    assert classifier.classes["n_cells"].tolist() == [80, 40, 25, 12]
    assert classifier.classes["n_used"].tolist() == [20, 20, 20, 12]
    assert classifier.scores["n_cells"] == 72
    assert fit(reference, max_cells=20, rng=1).params["temperature"] != classifier.params["temperature"]
    assert fit(reference, max_cells=None).classes["n_used"].tolist() == [80, 40, 25, 12]


def test_cells_without_label_or_embedding_and_small_labels_are_left_out(reference, query, caplog):
    reference.obs.loc[reference.obs_names[:4], "type"] = np.nan
    reference.obsm["X_toy"][2:9] = np.nan
    with caplog.at_level(logging.WARNING, logger="univerce"):
        found = fit(reference, min_cells=2)
    assert "4 of 157 reference cells have no label" in caplog.text
    assert "5 of 157 reference cells have no embedding" in caplog.text
    assert found.predict_proba(query).tobytes() == fit(reference[9:].copy(), min_cells=2).predict_proba(query).tobytes()
    with caplog.at_level(logging.WARNING, logger="univerce"):
        found = fit(blobs(SIZES), min_cells=20)
    assert "1 labels have fewer than 20 cells and are left out: 'DC' (12)" in caplog.text
    assert found.classes.index.tolist() == ["T", "B", "NK"]
    assert found.left_out["n_cells"].to_dict() == {"DC": 12}


def test_cells_without_a_batch_form_one(reference, caplog):
    reference.obs["batch"] = reference.obs["batch"].replace("b2", None)
    with caplog.at_level(logging.WARNING, logger="univerce"):
        found = fit(reference, batch_key="batch")
    assert "reference cells have no batch; they count as one batch" in caplog.text
    assert found.params["n_folds"] == 3
    assert found.scores["n_cells"] == reference.n_obs


def test_colors_belong_to_categories(reference):
    reference.uns["type_colors"] = COLORS
    kept = (reference.obs["type"] != "B").to_numpy()
    some = ad.AnnData(obs=reference.obs[kept], uns=reference.uns, obsm={"X_toy": reference.obsm["X_toy"][kept]})
    assert fit(some).classes["color"].to_dict() == {"T": "#000001", "NK": "#000003", "DC": "#000004"}
    floats = blobs({"0": 12, "1": 12})
    floats.obs["type"] = floats.obs["type"].astype(float).astype("category")
    floats.uns["type_colors"] = COLORS[:2]
    assert fit(floats).classes["color"].to_dict() == {"0": "#000001", "1": "#000002"}


CHANGES = {
    "": lambda a: None,
    "no embedding": lambda a: a.obsm["X_toy"].fill(np.nan),
    "one label": lambda a: a.obs.__setitem__("type", "T"),
    "no label": lambda a: a.obs.__setitem__("type", pd.Series(np.nan, index=a.obs_names, dtype=object)),
    "two ids": lambda a: a.obs.__setitem__("id", [f"CL:{i % 2}" for i in range(a.n_obs)]),
    "one batch": lambda a: a.obs.__setitem__("batch", "b"),
}


@pytest.mark.parametrize(
    "change, options, error, message",
    [
        ("no embedding", {}, ValueError, r"two labels with 10 cells or more; of the 4 .*, 0 have: 'T' has 0"),
        ("one label", {}, ValueError, r"of the 1 in reference.obs\['type'\], 1 have: 'T' has 157"),
        ("no label", {}, ValueError, "has no label at all"),
        ("one batch", {"batch_key": "batch"}, ValueError, r"reference.obs\['batch'\] has one value only, 'b'"),
        ("two ids", {"ontology_ids": "id"}, ValueError, "4 labels have several: 'T' has 'CL:0', 'CL:1'"),
        ("", {"groupby": "x"}, KeyError, r"obs\['x'\] does not exist"),
        ("", {"use_rep": "x"}, KeyError, r"obsm\['x'\] does not exist"),
        ("", {"batch_key": "x"}, KeyError, r"obs\['x'\] does not exist"),
        ("", {"batch_key": "type"}, ValueError, "No cell of the reference can be held out"),
        ("", {"min_cells": 200}, ValueError, "200 cells or more; of the 4 .*, 0 have"),
        ("", {"min_cells": 1}, ValueError, "min_cells=1 must be an integer >= 2"),
        ("", {"max_cells": 0}, ValueError, "max_cells=0 must be"),
        ("", {"n_folds": True}, ValueError, "n_folds=True must be"),
        ("", {"method": "svm"}, ValueError, "method='svm' is not known; use one of logistic"),
        ("", {"method": "knn", "knn_options": {"n_neighbors": 0}}, ValueError, "n_neighbors=0 must be"),
        ("", {"method": "knn", "knn_options": {"search": "flat"}}, ValueError, "search='flat' is not known"),
        ("", {"method": "knn", "knn_options": {"k": 3}}, ValueError, "has 'k'; its options are n_neighbors and search"),
        ("", {"knn_options": {"search": "ivf"}}, ValueError, "is for method='knn', not for method='logistic'"),
        ("", {"prior": "flat"}, ValueError, "prior='flat' is not known; use one of reference, uniform, query"),
        ("", {"rng": None}, TypeError, "rng=None"),
    ],
)
def test_invalid_options_and_references_are_errors(reference, change, options, error, message):
    CHANGES[change](reference)
    with pytest.raises(error, match=message):
        fit(reference, **options)


@pytest.mark.parametrize("embedding", [[[1.0, 2.0]], np.ones(8), np.ones((3, 7))], ids=["list", "vector", "width"])
def test_another_embedding_is_refused(reference, embedding):
    with pytest.raises(ValueError, match=f"is a {type(embedding).__name__} of shape .* has 8 columns"):
        fit(reference).predict_proba(embedding)


@pytest.mark.parametrize("content", [None, b"text"], ids=["a folder", "a file"])
def test_a_path_without_an_anndata_is_refused(content, tmp_path):
    path = tmp_path / "x.h5ad"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match="AnnData"):
        fit(path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.zarr"):
        fit(tmp_path / "nowhere.zarr")


def test_an_atlas_on_disk_is_fitted_within_little_more_than_its_stored_size(tmp_path, monkeypatch):
    """All cells are used: float16 stays float16, and no fold is copied."""
    monkeypatch.setattr(_cells, "BLOCK_ROWS", 1024)
    n, d = 60_000, 256
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=n)
    values = (rng.normal(size=(3, d))[y] + rng.normal(size=(n, d))).astype(np.float16)
    obs = pd.DataFrame({"type": pd.Categorical.from_codes(y, ["a", "b", "c"])}, index=[f"c{i}" for i in range(n)])
    ad.AnnData(obs=obs, obsm={"X_toy": values}).write_h5ad(tmp_path / "atlas.h5ad")
    atlas = open_anndata(tmp_path / "atlas.h5ad")
    fit(ad.AnnData(obs=obs[:60], obsm={"X_toy": values[:60]}), method="centroid")  # imports and compiles
    del values
    tracemalloc.start()
    try:
        classifier = fit(atlas, method="centroid", max_cells=None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert classifier.classes["n_used"].sum() == n
    assert peak < 2.5 * n * d * 2

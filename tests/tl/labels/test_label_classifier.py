"""Fitting, saving and reading classifiers of labels."""

from __future__ import annotations

import logging
import pickle

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

from tests.helpers.blobs import OneScale, blobs
from univerce.embeddings import cells as _inputs
from univerce.io import rows as _rows
from univerce.tl.labels import label_classifier
from univerce.tl.labels.calibration import fit_temperature, soften
from univerce.tl.labels.label_classifier import LabelClassifier

SIZES = {"T": 80, "B": 40, "NK": 25, "DC": 12}
METHODS = ["logistic", "knn", "centroid"]


def fit(reference, **options) -> LabelClassifier:
    return LabelClassifier.fit(reference, **{"labels": "type", "use_rep": "X_toy"} | options)


@pytest.fixture
def reference():
    return blobs(SIZES)


def test_probabilities_are_those_of_scikit_learn_at_the_temperature(reference):
    query = blobs(SIZES, seed=1).obsm["X_toy"]
    classifier = fit(reference)
    oracle = make_pipeline(OneScale(), LogisticRegression(max_iter=1000))
    oracle.fit(reference.obsm["X_toy"], reference.obs["type"].cat.codes)
    expected = soften(oracle.predict_log_proba(query), classifier.params["temperature"])
    found = classifier.predict_proba(query)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert classifier.classes.index.tolist() == list(SIZES)


def test_held_out_cells_come_from_other_batches(reference):
    """Every batch is predicted by scikit-learn's pipeline fitted on the other two."""
    reference = reference[np.argsort(reference.obs_names)].copy()
    classifier = fit(reference, batch="batch")
    x, y = reference.obsm["X_toy"], reference.obs["type"].cat.codes.to_numpy()
    log_proba = np.empty((len(y), 4))
    for batch in ("b0", "b1", "b2"):
        here = (reference.obs["batch"] == batch).to_numpy()
        oracle = make_pipeline(OneScale(), LogisticRegression(max_iter=1000)).fit(x[~here], y[~here])
        log_proba[here] = oracle.predict_log_proba(x[here])
    assert classifier.params["temperature"] == pytest.approx(fit_temperature(log_proba, y), rel=1e-3)
    best = log_proba.argmax(axis=1)
    assert classifier.scores["accuracy"] == pytest.approx(np.mean(best == y))
    assert classifier.scores["macro_f1"] == pytest.approx(f1_score(y, best, average="macro"))
    assert classifier.scores["n_cells"] == len(y)
    assert classifier.scores["n_never_held_out"] == 0
    assert classifier.scores["ece_after"] == pytest.approx(
        np.abs((t := classifier.scores["reliability"])["confidence"] - t["accuracy"]).fillna(0) @ t["n_cells"] / len(y)
    )


def test_calibration_lowers_the_error_of_an_overconfident_classifier():
    classifier = fit(blobs({"A": 150, "B": 150, "C": 150}, n_dims=60, spread=4.0))
    assert classifier.params["temperature"] > 1.5
    assert classifier.scores["ece_after"] < 0.5 * classifier.scores["ece_before"]


def test_a_label_of_one_batch_is_learned_but_not_judged(reference):
    reference.obs["batch"] = reference.obs["batch"].where(reference.obs["type"] != "DC", "b0")
    classifier = fit(reference, batch="batch")
    assert "DC" in classifier.classes.index
    assert classifier.scores["n_never_held_out"] == SIZES["DC"]
    assert set(classifier.held_out["label"]) == {0, 1, 2}


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_cells_does_not_matter(reference, method):
    shuffled = reference[np.random.default_rng(0).permutation(reference.n_obs)].copy()
    query = blobs(SIZES, seed=1).obsm["X_toy"]
    for options in ({}, {"batch": "batch"}, {"max_cells": 15}):
        one, two = (fit(a, method=method, **options) for a in (reference, shuffled))
        assert one.predict_proba(query).tobytes() == two.predict_proba(query).tobytes()
        assert one.scores["ece_after"] == two.scores["ece_after"]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_read_again_predicts_the_same_bytes(reference, method, tmp_path):
    reference.obs["id"] = reference.obs["type"].map({"T": "CL:1", "B": "CL:2"})
    reference.obs.loc[reference.obs_names[:3], "type"] = np.nan
    reference.obs["type"] = reference.obs["type"].cat.add_categories("rare")
    reference.obs.loc[reference.obs_names[3], "type"] = "rare"
    classifier = fit(reference, method=method, ontology_ids="id", batch="batch")
    classifier.save(tmp_path / "c.h5ad")
    again = LabelClassifier.load(tmp_path / "c.h5ad")
    query = blobs(SIZES, seed=1).obsm["X_toy"]
    assert again.predict_proba(query).tobytes() == classifier.predict_proba(query).tobytes()
    pd.testing.assert_frame_equal(again.classes, classifier.classes, check_names=False, check_index_type=False)
    pd.testing.assert_frame_equal(again.left_out, classifier.left_out, check_names=False)
    assert again.params == classifier.params
    np.testing.assert_array_equal(again.held_out["probability"], classifier.held_out["probability"])
    assert again.scores["accuracy"] == classifier.scores["accuracy"]
    assert classifier.left_out["n_cells"].to_dict() == {"rare": 1}
    again.save(tmp_path / "d.h5ad")
    assert (
        LabelClassifier.load(tmp_path / "d.h5ad").predict_proba(query).tobytes() == again.predict_proba(query).tobytes()
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.h5ad", "d.h5ad"]


def test_a_saved_classifier_is_an_anndata(reference, tmp_path):
    fit(reference).save(tmp_path / "c.h5ad")
    adata = ad.read_h5ad(tmp_path / "c.h5ad")
    assert adata.obs_names.tolist() == list(SIZES)
    assert adata.obs["n_cells"].tolist() == list(SIZES.values())


def test_a_file_that_cannot_be_written_leaves_the_old_one(reference, tmp_path, monkeypatch):
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
        with pytest.raises(ValueError, match="is no saved classifier"):
            LabelClassifier.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="There is no classifier at"):
        LabelClassifier.load(tmp_path / "nowhere.h5ad")
    with pytest.raises(ValueError, match=r"must end in \.h5ad"):
        fit(reference).save(tmp_path / "c.pkl")
    fit(reference).save(tmp_path / "c.h5ad")
    with h5py.File(tmp_path / "c.h5ad", "a") as file:
        file["uns/label_classifier/format"][()] = 99
    with pytest.raises(ValueError, match="saved in format 99, this version reads 1"):
        LabelClassifier.load(tmp_path / "c.h5ad")


@pytest.mark.parametrize("method", METHODS)
def test_cells_are_read_in_blocks_from_anywhere(reference, method, monkeypatch, tmp_path):
    classifier = fit(reference, method=method)
    query = blobs(SIZES, seed=1).obsm["X_toy"]
    query[5] = np.nan
    query[17, 2] = np.inf
    whole = classifier.predict_proba(query)
    assert np.flatnonzero(np.isnan(whole).any(axis=1)).tolist() == [5, 17]
    np.testing.assert_allclose(np.delete(whole, [5, 17], axis=0).sum(axis=1), 1, rtol=1e-6)
    monkeypatch.setattr(_rows, "READ_ROWS", 11)
    monkeypatch.setattr(label_classifier, "ROUNDED_ROWS", 7)
    stored = zarr.create_array(tmp_path / "z.zarr", shape=query.shape, dtype="f4", chunks=(20, 8))
    stored[:] = query
    for rep in (query, stored):
        np.testing.assert_allclose(classifier.predict_proba(rep), whole, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["zarr", "h5ad"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_a_reference_on_disk_is_read_in_blocks(reference, suffix, tmp_path, monkeypatch):
    path = tmp_path / f"atlas.{suffix}"
    reference.uns["type_colors"] = ["#000001", "#000002", "#000003", "#000004"]
    getattr(reference, f"write_{suffix}")(path)
    monkeypatch.setattr(_inputs, "_GATHER_ROWS", 13)
    query = blobs(SIZES, seed=1).obsm["X_toy"]
    found = fit(path)
    assert found.predict_proba(query).tobytes() == fit(reference).predict_proba(query).tobytes()
    assert found.classes["color"].tolist() == reference.uns["type_colors"]
    assert found.params["space"]["params"]["model"] == "toy"


def test_at_most_so_many_cells_of_a_label_are_used(reference):
    classifier = fit(reference, max_cells=20)
    assert classifier.classes["n_cells"].tolist() == [80, 40, 25, 12]
    assert classifier.classes["n_used"].tolist() == [20, 20, 20, 12]
    assert classifier.scores["n_cells"] == 72
    other = fit(reference, max_cells=20, rng=1)
    assert other.params["temperature"] != classifier.params["temperature"]
    assert fit(reference, max_cells=None).classes["n_used"].tolist() == [80, 40, 25, 12]


def test_cells_without_label_or_embedding_are_left_out_and_counted(reference, caplog):
    reference.obs.loc[reference.obs_names[:4], "type"] = np.nan
    reference.obsm["X_toy"][2:9] = np.nan
    with caplog.at_level(logging.WARNING, logger="univerce"):
        found = fit(reference)
    assert "4 of 157 reference cells have no label" in caplog.text
    assert "5 of 157 reference cells have no embedding" in caplog.text
    kept = reference[9:].copy()
    query = blobs(SIZES, seed=1).obsm["X_toy"]
    assert found.predict_proba(query).tobytes() == fit(kept).predict_proba(query).tobytes()


def test_small_labels_are_left_out_and_named(reference, caplog):
    with caplog.at_level(logging.WARNING, logger="univerce"):
        found = fit(reference, min_cells=20)
    assert "Labels with fewer than 20 cells are never predicted; there are 1: 'DC' (12)" in caplog.text
    assert found.classes.index.tolist() == ["T", "B", "NK"]
    assert found.left_out["n_cells"].to_dict() == {"DC": 12}


def test_a_batch_that_is_missing_counts_as_one(reference, caplog):
    reference.obs["batch"] = reference.obs["batch"].replace("b2", None)
    with caplog.at_level(logging.WARNING, logger="univerce"):
        found = fit(reference, batch="batch")
    assert "reference cells have no batch: they count as one of their own" in caplog.text
    assert found.params["n_folds"] == 3
    assert found.scores["n_cells"] == reference.n_obs


def test_colors_belong_to_categories_even_unused_ones(reference):
    reference.uns["type_colors"] = ["#000001", "#000002", "#000003", "#000004"]
    some = ad.AnnData(obs=reference.obs[reference.obs["type"] != "B"], uns=reference.uns)
    some.obsm["X_toy"] = reference.obsm["X_toy"][(reference.obs["type"] != "B").to_numpy()]
    assert fit(some).classes["color"].to_dict() == {"T": "#000001", "NK": "#000003", "DC": "#000004"}


def _all_nan(reference):
    reference.obsm["X_toy"][:] = np.nan


def _one_class(reference):
    reference.obs["type"] = "T"


def _no_label(reference):
    reference.obs["type"] = pd.Series(np.nan, index=reference.obs_names, dtype=object)


def _two_ids(reference):
    reference.obs["id"] = [f"CL:{i % 2}" for i in range(reference.n_obs)]


def _nothing(reference):
    return None


@pytest.mark.parametrize(
    "change, options, error, message",
    [
        pytest.param(
            _all_nan,
            {},
            ValueError,
            r"two labels with 5 cells or more; of the 4 .*, 0 have: 'T' has 0",
            id="no embedding",
        ),
        pytest.param(
            _one_class, {}, ValueError, r"of the 1 in reference.obs\['type'\], 1 have: 'T' has 157", id="one label"
        ),
        pytest.param(_no_label, {}, ValueError, "has no label at all", id="no label"),
        pytest.param(_nothing, {"labels": "x"}, KeyError, r"obs\['x'\] does not exist", id="no such labels"),
        pytest.param(_nothing, {"use_rep": "x"}, KeyError, r"obsm\['x'\] does not exist", id="no such embedding"),
        pytest.param(_nothing, {"batch": "x"}, KeyError, r"obs\['x'\] does not exist", id="no such batch"),
        pytest.param(
            _nothing, {"batch": "type"}, ValueError, "No cell of the reference can be held out", id="batches are labels"
        ),
        pytest.param(
            _nothing, {"min_cells": 200}, ValueError, "200 cells or more; of the 4 .*, 0 have", id="few cells"
        ),
        pytest.param(_nothing, {"min_cells": 1}, ValueError, "min_cells=1 must be an integer >= 2", id="min_cells"),
        pytest.param(_nothing, {"max_cells": 0}, ValueError, "max_cells=0 must be an integer", id="max_cells"),
        pytest.param(_nothing, {"n_neighbors": 0}, ValueError, "n_neighbors=0 must be an integer", id="n_neighbors"),
        pytest.param(_nothing, {"n_folds": True}, ValueError, "n_folds=True must be an integer", id="n_folds"),
        pytest.param(
            _nothing, {"method": "svm"}, ValueError, "method='svm' is not known; use one of logistic", id="method"
        ),
        pytest.param(_nothing, {"rng": None}, TypeError, "rng=None", id="rng"),
        pytest.param(
            _two_ids, {"ontology_ids": "id"}, ValueError, "4 labels have several: 'T' has 'CL:0', 'CL:1'", id="two ids"
        ),
    ],
)
def test_what_cannot_be_fitted_says_why(reference, change, options, error, message):
    change(reference)
    with pytest.raises(error, match=message):
        fit(reference, **options)


def test_one_batch_is_none(reference):
    reference.obs["batch"] = "b"
    with pytest.raises(ValueError, match=r"reference.obs\['batch'\] has one value only, 'b'"):
        fit(reference, batch="batch")


def test_an_embedding_of_another_width_is_refused(reference):
    with pytest.raises(ValueError, match=r"shape \(3, 5\); the reference of the classifier has 8 columns"):
        fit(reference).predict_proba(np.zeros((3, 5)))


@pytest.mark.parametrize("content", [None, b"text"], ids=["a folder", "a file"])
def test_a_path_that_is_no_anndata_is_refused(content, tmp_path):
    path = tmp_path / "x.h5ad"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match="is no AnnData"):
        fit(path)
    with pytest.raises(FileNotFoundError, match="There is nothing at"):
        fit(tmp_path / "nowhere.zarr")


@pytest.mark.parametrize("embedding", [[[1.0, 2.0]], np.ones(8), np.ones((3, 7))], ids=["list", "vector", "width"])
def test_what_is_no_such_embedding_is_named(embedding):
    classifier = LabelClassifier.fit(blobs({"a": 8, "b": 8}), labels="type", use_rep="X_toy")
    with pytest.raises(ValueError, match=f"is a {type(embedding).__name__} of shape .* has 8 columns"):
        classifier.predict_proba(embedding)


def test_colors_go_with_labels_that_are_stored_as_floats():
    adata = blobs({"0": 8, "1": 8})
    adata.obs["type"] = adata.obs["type"].astype(float).astype("category")
    adata.uns["type_colors"] = ["#000001", "#000002"]
    found = LabelClassifier.fit(adata, labels="type", use_rep="X_toy")
    assert found.classes["color"].to_dict() == {"0": "#000001", "1": "#000002"}

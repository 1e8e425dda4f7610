"""uc.tl.transfer_labels: results against plain reimplementations, and errors."""

from __future__ import annotations

import inspect
import logging
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from tests.helpers.blobs import blobs
from univerce.io.obo import read_obo
from univerce.tl.labels._options import FIT_OPTIONS
from univerce.tl.labels.calibration import expected_error, reliability
from univerce.tl.labels.label_classifier import LabelClassifier
from univerce.tl.labels.transfer_labels import transfer_labels

SIZES = {"CD4 T": 60, "CD8 T": 40, "B": 40, "mono": 30}
METHODS = ["logistic", "knn", "centroid"]
KEY = "type_transferred"

TERMS = [("cell",), ("leukocyte", 0), ("lymphocyte", 1), ("T cell", 2)]
TERMS += [("CD4 T cell", 3), ("CD8 T cell", 3), ("B cell", 2), ("monocyte", 1)]
OBO = "ontology: toy\ndata-version: 1\n" + "".join(
    f"\n[Term]\nid: X:{i}\nname: {name}\n" + "".join(f"is_a: X:{p}\n" for p in parents)
    for i, (name, *parents) in enumerate(TERMS)
)
IDS = {"CD4 T": "X:4", "CD8 T": "CD8 T cell", "B": "X:6", "mono": "monocyte"}


def transfer(adata, reference, **options) -> pd.Series:
    fit_options = {name: options.pop(name) for name in ("method", "batch_key", "ontology_ids") if name in options}
    options["fit_options"] = options.get("fit_options", {}) | fit_options
    defaults = {} if isinstance(reference, LabelClassifier) else {"groupby": "type"}
    transfer_labels(adata, reference, **defaults | {"use_rep": "X_toy"} | options)
    return adata.obs[options.get("key_added", KEY)]


def fit(reference, **options) -> LabelClassifier:
    return LabelClassifier.fit(reference, **{"groupby": "type", "use_rep": "X_toy"} | options)


@pytest.fixture
def reference():
    adata = blobs(SIZES, spread=1.0)
    adata.uns["type_colors"] = ["#000000", "#404040", "#0000ff", "#ff0000"]
    return adata


@pytest.fixture
def query():
    """Other cells of three of the types, without labels."""
    adata = blobs(SIZES, spread=1.0, seed=1)
    adata = adata[adata.obs["type"] != "mono"].copy()
    adata.uns["truth"] = adata.obs.pop("type").astype(str).to_numpy()
    return adata


@pytest.fixture
def ontology(tmp_path):
    path = tmp_path / "toy.obo"
    path.write_text(OBO)
    return path


# What is written -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_column_follows_from_the_probabilities(reference, query, method):
    classifier = fit(reference, method=method, batch_key="batch")
    transfer(query, classifier, threshold=0.7)
    names = np.array(list(SIZES))
    proba = classifier.predict_proba(query.obsm["X_toy"])
    order = np.argsort(-proba, axis=1, kind="stable")
    highest = proba.max(axis=1)
    np.testing.assert_allclose(query.obs[f"{KEY}_confidence"], highest)
    assert query.obs[f"{KEY}_best"].astype(str).tolist() == names[order[:, 0]].tolist()
    assert query.obs[f"{KEY}_second"].astype(str).tolist() == names[order[:, 1]].tolist()
    expected = np.where(highest >= 0.7, names[order[:, 0]], "unknown")
    assert query.obs[KEY].astype(str).tolist() == expected.tolist()
    assert 0.02 < (expected == "unknown").mean() < 0.98
    assert query.uns[KEY]["params"]["threshold"] == 0.7
    assert query.obs[f"{KEY}_confidence"].dtype == np.float32
    table = query.uns[KEY]["table"]
    assert table["n_cells"].to_dict() == query.obs[KEY].value_counts()[table.index].to_dict()
    np.testing.assert_allclose(table["confidence"].iloc[0], highest[expected == table.index[0]].mean(), rtol=1e-5)


def test_categories_and_colors_come_from_the_reference(reference, query):
    found = transfer(query, reference, threshold={"coverage": 0.6})
    colors = dict(zip(SIZES, reference.uns["type_colors"], strict=True)) | {"unknown": "#d3d3d3"}
    categories = found.cat.categories.tolist()
    assert categories == [name for name in [*SIZES, "unknown"] if name in set(found)]
    assert "unknown" in categories
    assert query.uns[f"{KEY}_colors"] == [colors[name] for name in categories]
    del reference.uns["type_colors"]
    transfer(query, reference)
    assert f"{KEY}_colors" not in query.uns


def test_a_query_needs_nothing_but_its_embedding(reference, query):
    bare = ad.AnnData(obs=pd.DataFrame(index=query.obs_names), obsm={"X_toy": query.obsm["X_toy"]})
    transfer(bare, reference, check_space=False)
    transfer(query, reference)
    assert bare.obs[KEY].tolist() == query.obs[KEY].tolist()


@pytest.mark.parametrize("batch", [None, "batch"])
def test_accuracy_and_coverage_hold_on_held_out_cells(reference, query, batch):
    classifier = fit(reference, batch_key=batch)
    proba, truth = classifier.held_out["probability"], classifier.held_out["label"]
    right, confidence = proba.argmax(axis=1) == truth, proba.max(axis=1)
    for asked in (0.8, 0.9):
        transfer(query, classifier, threshold={"accuracy": asked})
        threshold = query.uns[KEY]["params"]["threshold"]
        assert right[confidence >= threshold].mean() >= asked
        for lower in confidence[confidence < threshold]:
            assert right[confidence >= lower].mean() < asked
        transfer(query, classifier, threshold={"coverage": asked})
        threshold = query.uns[KEY]["params"]["threshold"]
        assert (confidence >= threshold).mean() >= asked > (confidence > threshold).mean()
    curve = query.uns[KEY]["risk_coverage"]
    for row in curve.iloc[::40].itertuples():
        kept = confidence >= row.threshold
        assert row.coverage == pytest.approx(kept.mean())
        assert row.accuracy == pytest.approx(right[kept].mean())
    assert query.uns[KEY]["params"]["asked"] == {"coverage": 0.9}


def test_another_batch_reaches_about_the_accuracy():
    """The query is another batch of the same types."""
    both = blobs({k: 3 * n for k, n in SIZES.items()}, spread=1.0, n_batches=8)
    query, reference = (both[(both.obs["batch"] == "b0").to_numpy() == w].copy() for w in (True, False))
    truth = query.obs.pop("type").astype(str)
    found = transfer(query, reference, batch_key="batch", threshold={"accuracy": 0.9}).astype(str)
    kept = found != "unknown"
    assert 0.3 < kept.mean() < 1
    assert (found == truth)[kept].mean() > 0.8


def test_cells_without_an_embedding_get_no_label(reference, query, ontology):
    whole = query.copy()
    options = {"threshold": 0.8, "ontology": ontology, "ontology_ids": IDS}
    transfer(whole, reference, **options)
    query.obsm["X_toy"][[0, 7]] = np.nan
    transfer(query, reference, **options)
    columns = [c for c in query.obs if c.startswith(KEY)]
    assert sorted(columns) == sorted(
        [KEY, *(f"{KEY}_{c}" for c in ("confidence", "best", "second", "novelty", "ontology_term_id"))]
    )
    assert (query.obs[f"{KEY}_ontology_term_id"].iloc[[0, 7]] == "unknown").all()
    assert query.obs[columns].drop(columns=f"{KEY}_ontology_term_id").iloc[[0, 7]].isna().all(axis=None)
    rest = np.delete(np.arange(query.n_obs), [0, 7])
    for column in columns:
        kind = float if column.endswith(("confidence", "novelty")) else str
        assert query.obs[column].iloc[rest].astype(kind).tolist() == whole.obs[column].iloc[rest].astype(kind).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_cells_does_not_matter(reference, query, method):
    rng = np.random.default_rng(0)
    options = {"method": method, "batch_key": "batch", "max_cells": 30}
    transfer(query, fit(reference, **options), threshold={"accuracy": 0.6})
    other = query[rng.permutation(query.n_obs)].copy()
    shuffled = fit(reference[rng.permutation(reference.n_obs)].copy(), **options)
    transfer(other, shuffled, threshold={"accuracy": 0.6})
    other = other[query.obs_names]
    pd.testing.assert_frame_equal(other.obs, query.obs)
    assert other.uns[KEY]["params"] == query.uns[KEY]["params"]


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_results_survive_a_file(reference, query, ontology, tmp_path):
    transfer(query, fit(reference, min_cells=35), threshold=0.8, ontology=ontology, ontology_ids=IDS)
    query.write_h5ad(tmp_path / "q.h5ad")
    query.write_zarr(tmp_path / "q.zarr")
    for again in (ad.read_h5ad(tmp_path / "q.h5ad"), ad.read_zarr(tmp_path / "q.zarr")):
        pd.testing.assert_frame_equal(again.obs, query.obs)
        mine, theirs = query.uns[KEY], again.uns[KEY]
        for table in ("table", "reliability", "risk_coverage", "classes", "left_out"):
            pd.testing.assert_frame_equal(
                theirs[table], mine[table], check_names=False, check_dtype=False, check_categorical=False
            )
        assert theirs["params"]["space"]["model"] == "toy"
        assert theirs["scores"] == mine["scores"]
        assert list(again.uns[f"{KEY}_colors"]) == query.uns[f"{KEY}_colors"]
    assert query.uns[KEY]["left_out"]["n_cells"].to_dict() == {"mono": 30}


def test_results_go_to_key_added_or_into_a_copy(reference, query):
    before = set(query.obs)
    copied = transfer_labels(query, reference, groupby="type", use_rep="X_toy", key_added="mine", copy=True)
    assert set(query.obs) == before
    assert transfer(query, reference, key_added="mine").tolist() == copied.obs["mine"].tolist()
    assert set(query.obs) - before == {"mine", "mine_best", "mine_second", "mine_confidence", "mine_novelty"}
    assert "mine" in query.uns


# Ancestors -----------------------------------------------------------------------------------------------------------


def test_an_uncertain_cell_gets_a_confident_ancestor(reference, query, ontology):
    """Recomputed by hand from sums of the probabilities."""
    classifier = fit(reference)
    found = transfer(query, classifier, threshold=0.9, ontology=ontology, ontology_ids=IDS)
    above = {"CD4 T": ["T cell", "lymphocyte"], "CD8 T": ["T cell", "lymphocyte"], "B": ["lymphocyte"], "mono": []}
    under = {"T cell": ["CD4 T", "CD8 T"], "lymphocyte": ["CD4 T", "CD8 T", "B"]}
    ids = {"CD4 T": "X:4", "CD8 T": "X:5", "B": "X:6", "mono": "X:7", "T cell": "X:3", "lymphocyte": "X:2"}
    proba = pd.DataFrame(classifier.predict_proba(query.obsm["X_toy"]), columns=list(SIZES), index=query.obs_names)
    for name, row in proba.iterrows():
        best = row.idxmax()
        sums = {best: row[best]} | {term: row[under[term]].sum() for term in above[best]}
        confident = [term for term, total in sums.items() if total >= 0.9]
        cell = query.obs.loc[name]
        assert cell[KEY] == (confident[0] if confident else "unknown")
        assert cell[f"{KEY}_confidence"] == pytest.approx(sums[confident[0]] if confident else row[best], rel=1e-5)
        assert cell[f"{KEY}_best"] == best
        assert cell[f"{KEY}_ontology_term_id"] == (ids[confident[0]] if confident else "unknown")
    assert {"T cell", "lymphocyte", "unknown"} < set(found)
    colors = dict(zip(found.cat.categories, query.uns[f"{KEY}_colors"], strict=True))
    assert colors["T cell"] == "#202020"
    assert query.uns[KEY]["params"]["ontology"] == "toy 1"


def test_ancestors_count_for_the_accuracy(reference, query, ontology):
    classifier = fit(reference)
    transfer(query, classifier, threshold={"accuracy": 0.95})
    plain = query.obs[KEY].copy()
    graph = read_obo(ontology)
    transfer(query, classifier, threshold={"accuracy": 0.95}, ontology=graph, ontology_ids=IDS)
    assert (query.obs[KEY] == "unknown").sum() < (plain == "unknown").sum()
    # The held-out cells, one by one, at the threshold.
    threshold = query.uns[KEY]["params"]["threshold"]
    under = {"T cell": {0, 1}, "lymphocyte": {0, 1, 2}}
    above = [["T cell", "lymphocyte"], ["T cell", "lymphocyte"], ["lymphocyte"], []]
    right = []
    for row, truth in zip(classifier.held_out["probability"].astype(float), classifier.held_out["label"], strict=True):
        best = row.argmax()
        answers = [(row[best], {best})] + [(row[list(under[t])].sum(), under[t]) for t in above[best]]
        confident = [members for total, members in answers if total >= threshold]
        right += [truth in confident[0]] if confident else []
    curve = query.uns[KEY]["risk_coverage"]
    assert np.mean(right) >= 0.95
    assert np.mean(right) < 0.99
    at = curve[curve["threshold"] >= threshold].iloc[-1]
    assert at["coverage"] == pytest.approx(len(right) / classifier.scores["n_cells"], abs=0.02)


@pytest.mark.parametrize("where", ["column", "names of the labels", "classifier"])
def test_terms_come_from_a_column_the_labels_or_a_classifier(reference, query, ontology, where):
    transfer(query, reference, threshold=0.9, ontology=ontology, ontology_ids=IDS)
    expected = query.obs[KEY].copy()
    reference.obs["id"] = reference.obs["type"].map(IDS).astype(object)
    options = {"threshold": 0.9, "ontology": ontology}
    if where == "column":
        found = transfer(query, reference, ontology_ids="id", **options)
    elif where == "classifier":
        found = transfer(query, fit(reference, ontology_ids="id"), **options)
    else:
        reference.obs["type"] = reference.obs["type"].cat.rename_categories(IDS)
        found = transfer(query, reference, **options)
        expected = expected.cat.rename_categories({k: v for k, v in IDS.items() if k in expected.cat.categories})
    assert found.astype(str).tolist() == expected.astype(str).tolist()


@pytest.mark.parametrize("missing", ["", None, np.nan])
def test_a_label_without_a_term_has_no_ancestors(reference, query, ontology, missing):
    found = transfer(query, fit(reference), threshold=0.9, ontology=ontology, ontology_ids=IDS | {"B": missing})
    best = query.obs[f"{KEY}_best"]
    assert set(found[best == "B"]) == {"B", "unknown"}
    assert (query.obs[f"{KEY}_ontology_term_id"][found == "B"] == "unknown").all()
    assert "T cell" in set(found)


def test_labels_that_are_terms_need_no_ids(query):
    """Names and synonyms of the included ontology; labels without a term have no ancestors and are named."""
    names = {
        "CD4 T": "CD4-positive, alpha-beta T cell",
        "CD8 T": "CD8-positive, alpha-beta T cell",
        "B": "B lymphocyte",
    }
    reference = blobs(SIZES, spread=1.0)
    reference.obs["type"] = reference.obs["type"].cat.rename_categories(names)
    found = transfer(query, reference, threshold=0.95, ontology="CL")
    ids = query.obs[f"{KEY}_ontology_term_id"]
    assert set(ids[found == "B lymphocyte"]) == {"CL:0000236"}
    assert (ids == "unknown").sum() == found.isin(["unknown", "mono"]).sum()
    assert "CL:0000791" in set(ids)  # mature alpha-beta T cell
    assert ids.astype(str).str.fullmatch(r"CL:\d{7}|unknown").all()
    kinds = query.uns[KEY]["table"]["kind"].to_dict()
    assert kinds["B lymphocyte"] == "label"
    assert kinds["mature alpha-beta T cell"] == "term"
    scores = query.uns[KEY]["scores"]
    parts = scores["labels_coverage_at_threshold"] + scores["terms_coverage_at_threshold"]
    assert scores["coverage_at_threshold"] == pytest.approx(parts)
    assert scores["accuracy"] < scores["hierarchical_f1"] < 1


# Composition, sets, overlap ------------------------------------------------------------------------------------------


def normal(n_common: int, n_rare: int, seed: int) -> ad.AnnData:
    """Two types that differ by 2.2 standard deviations in one of 20 dimensions."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [n_common, n_rare])
    x = rng.normal(size=(len(y), 20)).astype(np.float32)
    x[:, 0] += 2.2 * y
    obs = pd.DataFrame({"type": np.array(["common", "rare"])[y]}, index=[f"{seed}-{i}" for i in range(len(y))])
    return ad.AnnData(obs=obs, obsm={"X_toy": x})


@pytest.mark.parametrize("max_cells", [300, None])
def test_confidences_hold_for_cells_like_the_reference_whatever_max_cells_keeps(max_cells):
    reference, query = normal(8000, 200, 0), normal(8000, 200, 1)
    classifier = fit(reference, max_cells=max_cells)
    found = transfer(query, classifier, check_space=False, threshold={"accuracy": 0.985})
    right, confidence = found == query.obs["type"], query.obs[f"{KEY}_confidence"]
    kept = found != "unknown"
    assert (query.obs[f"{KEY}_best"] == "rare").sum() < 200
    assert expected_error(reliability(confidence[kept].to_numpy(), right[kept].to_numpy())) < 0.01
    scores = query.uns[KEY]["scores"]
    assert right[kept].mean() == pytest.approx(0.985, abs=0.005)
    assert scores["accuracy_at_threshold"] == pytest.approx(right[kept].mean(), abs=0.01)
    assert scores["accuracy"] == pytest.approx((query.obs[f"{KEY}_best"] == query.obs["type"]).mean(), abs=0.01)
    assert query.uns[KEY]["params"]["prior"] == "reference"


def test_the_composition_of_the_query_is_estimated():
    """Half of its cells are rare ones, as no cell of the reference says."""
    reference, query = normal(4000, 400, 0), normal(2000, 2000, 1)
    classifier = fit(reference, max_cells=1000)
    accuracy = {}
    for prior in ("reference", "uniform", "query"):
        found = transfer(query, classifier, check_space=False, fit_options={"prior": prior})
        accuracy[prior] = (found == query.obs["type"]).mean()
        confidence = query.obs[f"{KEY}_confidence"].to_numpy()
        error = expected_error(reliability(confidence, (found == query.obs["type"]).to_numpy()))
        assert (error < 0.02) == (prior != "reference")
    assert query.uns[KEY]["classes"]["share"]["rare"] == pytest.approx(0.5, abs=0.04)
    assert accuracy["reference"] < accuracy["query"] - 0.05
    assert accuracy["query"] == pytest.approx(accuracy["uniform"], abs=0.01)
    assert fit(reference, prior="query").predict_proba(query.obsm["X_toy"])[:, 1].mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("options", [{"fit_options": {"prior": "uniform"}}, {"allowed": ["CD4 T", "CD8 T", "B"]}])
def test_the_error_before_calibration_is_that_of_the_assumed_shares(query, options):
    """Of a classifier that needs no calibration both errors are the same, whatever shares are assumed."""
    reference = blobs({name: 10 * n for name, n in SIZES.items()}, spread=1.0)
    classifier = fit(reference, max_cells=350)
    held = classifier.held_out
    classifier.held_out["uncalibrated"][:] = held["probability"]
    transfer(query, classifier, **options)
    scores = query.uns[KEY]["scores"]
    assert scores["ece_before"] == scores["ece_after"]
    assert scores["ece_before"] != classifier.scores["ece_before"]


def test_only_allowed_labels_are_given(reference, query):
    classifier = fit(reference)
    whole = classifier.predict_proba(query.obsm["X_toy"])[:, [0, 2]]
    found = transfer(query, classifier, allowed=["CD4 T", "B"])
    np.testing.assert_allclose(
        query.obs[f"{KEY}_confidence"], (whole / whole.sum(axis=1, keepdims=True)).max(axis=1), rtol=1e-4
    )
    assert found.tolist() == np.array(["CD4 T", "B"])[whole.argmax(axis=1)].tolist()
    assert query.uns[KEY]["scores"]["n_cells"] == SIZES["CD4 T"] + SIZES["B"]


def test_sets_hold_the_true_label_of_each_type_and_are_as_small_as_the_rule_says(reference, ontology):
    big = blobs({name: 20 * n for name, n in SIZES.items()}, spread=1.0, seed=1, shift=0)
    reference = blobs({name: 10 * n for name, n in SIZES.items()}, spread=1.0, shift=0)
    found = transfer(big, reference, label_set=0.9, ontology=ontology, ontology_ids=IDS)
    sets, truth = big.obs[f"{KEY}_set"].astype(str).str.split(" | ", regex=False), big.obs["type"].astype(str)
    inside = pd.Series([t in s for t, s in zip(truth, sets, strict=True)])
    by_type = inside.groupby(truth.to_numpy()).mean()
    assert by_type.between(0.86, 0.99).all()
    classes = big.uns[KEY]["classes"]
    np.testing.assert_allclose(classes["set_coverage"], by_type[classes.index], atol=0.06)
    assert big.uns[KEY]["scores"]["set_coverage"] == pytest.approx(inside.mean(), abs=0.03)
    under = {"T cell": {"CD4 T", "CD8 T"}, "lymphocyte": {"CD4 T", "CD8 T", "B"}}
    right = {
        "one_label": found.astype(str) == truth,
        "term": [t in under.get(n, ()) for t, n in zip(truth, found, strict=True)],
    }
    for kind, given in (("one_label", found.isin(list(SIZES))), ("term", found.isin(list(under)))):
        accuracy = np.mean(np.asarray(right[kind])[given])
        assert big.uns[KEY]["scores"][f"set_{kind}_accuracy"] == pytest.approx(accuracy, abs=0.03)
    for labels, name in zip(sets, found.astype(str), strict=True):
        labels = set(labels) - {""}
        covering = [term for term, members in under.items() if labels <= members]
        expected = next(iter(labels)) if len(labels) == 1 else covering[0] if labels and covering else "unknown"
        assert name == expected
    assert {"T cell", "lymphocyte", "unknown"} < set(found)
    assert (big.obs[f"{KEY}_set_size"] == [len(set(s) - {""}) for s in sets]).all()


def test_sets_of_held_out_donors_are_reported_for_each(query):
    reference = blobs({name: 5 * n for name, n in SIZES.items()}, n_batches=6)
    transfer(query, reference, label_set=0.8, batch_key="batch")
    table = query.uns[KEY]["set_coverage"]
    assert table.index.tolist() == [f"b{i}" for i in range(6)]
    assert table["n_cells"].sum() == reference.n_obs
    scores = query.uns[KEY]["scores"]
    assert np.average(table["coverage"], weights=table["n_cells"]) == pytest.approx(scores["set_coverage"])
    assert 0.75 < scores["set_coverage"] < 0.95


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_cells_that_are_in_the_reference_are_noticed(reference, query, caplog, dtype):
    both = ad.concat([query, reference[:30].copy()], index_unique="-", keys=["q", "r"])
    both.obsm["X_toy"] = both.obsm["X_toy"].astype(dtype)
    with caplog.at_level(logging.WARNING, "univerce"):
        transfer(both, reference, check_space=False)
    assert "30 of 170 cells are in the reference" in caplog.text
    assert both.uns[KEY]["params"]["n_in_reference"] == 30
    transfer(query, reference)
    assert query.uns[KEY]["params"]["n_in_reference"] == 0


def test_a_cell_far_from_its_label_is_novel(reference, query):
    query.obsm["X_toy"][:5] += 20
    transfer(query, reference)
    novelty = query.obs[f"{KEY}_novelty"]
    assert (novelty[:5] == 1).all()
    assert 0.3 < novelty[5:].mean() < 0.7


@pytest.mark.parametrize("search", ["ivf", "hnsw", "compressed"])
def test_an_index_is_tuned_on_the_query_and_says_what_it_finds(search):
    reference, query = normal(2000, 500, 0), normal(100, 100, 1)
    query.obsm["X_toy"] *= 1.5
    transfer(query, fit(reference, method="knn", max_cells=None), check_space=False)
    exact = query.obs.copy()
    options = {"method": "knn", "max_cells": None, "knn_options": {"search": search}}
    transfer(query, fit(reference, **options), check_space=False)
    assert query.uns[KEY]["params"]["search_recall"] >= 0.98
    assert (query.obs[KEY].astype(str) == exact[KEY].astype(str)).mean() > 0.97


# Other references ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_fitted_classifier_gives_the_same(reference, query, method, tmp_path):
    transfer(query, reference, method=method, threshold={"accuracy": 0.8}, batch_key="batch")
    expected, params = query.obs.copy(), query.uns[KEY]["params"]
    classifier = fit(reference, method=method, batch_key="batch")
    classifier.save(tmp_path / "c.h5ad")
    query.obsm["X_mine"] = query.obsm.pop("X_toy")
    query.uns["univerce"]["X_mine"] = query.uns["univerce"]["X_toy"]
    for given in (classifier, tmp_path / "c.h5ad", str(tmp_path / "c.h5ad")):
        transfer_labels(query, given, use_rep="X_mine", threshold={"accuracy": 0.8})
        pd.testing.assert_frame_equal(query.obs, expected)
        assert query.uns[KEY]["params"] == params | {"use_rep": "X_mine"}


def test_a_classifier_knows_which_embedding_it_reads(reference, query):
    query.obsm["X_uce"] = query.obsm["X_toy"][:, ::-1].copy()
    transfer(query, reference)
    expected = query.obs.copy()
    classifier = fit(reference)
    transfer_labels(query, classifier, check_space=False)
    pd.testing.assert_frame_equal(query.obs, expected)
    assert query.uns[KEY]["params"]["use_rep"] == "X_toy"
    del query.obsm["X_toy"]
    with pytest.raises(KeyError, match=r"adata.obsm\['X_toy'\] does not exist"):
        transfer_labels(query, classifier)


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_an_atlas_on_disk_gives_the_same(reference, query, tmp_path):
    transfer(query, reference, threshold={"coverage": 0.8})
    expected = query.obs.copy()
    reference.write_zarr(tmp_path / "atlas.zarr")
    reference.write_h5ad(tmp_path / "atlas.h5ad")
    for path in (tmp_path / "atlas.zarr", tmp_path / "atlas.h5ad"):
        transfer(query, path, threshold={"coverage": 0.8})
        pd.testing.assert_frame_equal(query.obs, expected)
    reference.obs["cell_type"] = reference.obs.pop("type")
    reference.write_zarr(tmp_path / "cell_type.zarr")
    transfer_labels(query, tmp_path / "cell_type.zarr", use_rep="X_toy")
    assert (query.obs["cell_type_transferred"].astype(str) == query.obs[f"{KEY}_best"].astype(str)).all()


def test_options_of_a_fitted_classifier_may_be_repeated_but_not_changed(reference, query):
    classifier = fit(reference, method="knn")
    transfer(query, classifier, groupby="type", method="knn")
    for name, value in {"groupby": "batch", "method": "centroid", "batch_key": "batch"}.items():
        with pytest.raises(ValueError, match=f"{name}={value!r} is an option of fitting"):
            transfer(query, classifier, **{name: value})
    with pytest.raises(ValueError, match=r"with method='knn'\. Leave it out"):
        transfer(query, classifier, method="centroid")
    with pytest.raises(ValueError, match="ontology_ids='id' is an option of fitting"):
        transfer(query, classifier, ontology_ids="id")
    options = set(inspect.signature(LabelClassifier.fit).parameters)
    assert options - set(FIT_OPTIONS) == {"reference", "groupby", "use_rep", "mod", "client"}


# Errors --------------------------------------------------------------------------------------------------------------


def test_two_spaces_are_refused_before_any_work(reference, query, monkeypatch):
    classifier = fit(reference)
    monkeypatch.setattr(LabelClassifier, "fit", None)
    query.uns["univerce"]["X_toy"]["model_digest"] = "other"
    for given in (reference, classifier):
        with pytest.raises(ValueError, match="come from two models"):
            transfer(query, given)
    transfer(query, classifier, check_space=False)
    del query.uns["univerce"]
    with pytest.raises(KeyError, match="check_space=False"):
        transfer(query, classifier)
    query.obsm["X_toy"] = query.obsm["X_toy"][:, :5]
    with pytest.raises(ValueError, match="has 5 columns in adata and 8 in reference"):
        transfer(query, reference, check_space=False)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"groupby": None}, ValueError, "groupby= must name the column of reference.obs"),
        ({"groupby": "x"}, KeyError, "does not exist"),
        ({"use_rep": "X_no"}, KeyError, r"adata.obsm\['X_no'\] does not exist"),
        ({"threshold": {"accuracy": 0.9, "coverage": 0.5}}, ValueError, "is not known; pass a confidence such as 0.5"),
        ({"threshold": {"recall": 0.9}}, ValueError, "is not known; pass a confidence such as 0.5"),
        ({"threshold": {"accuracy": 0}}, ValueError, r"threshold=\{'accuracy': 0\} must be above 0"),
        ({"threshold": {"coverage": 80}}, ValueError, "must be above 0 and at most 1"),
        ({"threshold": "high"}, ValueError, "threshold='high' must be above 0 and at most 1"),
        ({"ontology": "x.obo"}, ValueError, "pass threshold= or label_set= too"),
        ({"fit_options": {"max_cell": 3}}, ValueError, "fit_options has no 'max_cell'; its keys are 'method'"),
        ({"allowed": ["B", "beta"]}, ValueError, "allowed= names 'beta', which the reference lacks"),
        ({"allowed": ["B"]}, ValueError, "leaves fewer than two labels"),
        ({"label_set": 0.9, "threshold": 0.5}, ValueError, "are two rules"),
        ({"label_set": 1}, ValueError, "label_set=1 must be above 0 and below 1"),
        ({"threshold": 0.5, "ontology": "x.obo"}, FileNotFoundError, "No ontology found at 'x.obo'"),
    ],
)
def test_invalid_options_are_errors(reference, query, options, error, message):
    with pytest.raises(error, match=message):
        transfer(query, reference, **options)
    assert KEY not in query.obs


@pytest.mark.parametrize("name", ["B | plasma", "B |"])
def test_labels_that_would_make_sets_ambiguous_are_refused(reference, query, name):
    reference.obs["type"] = reference.obs["type"].cat.rename_categories({"B": name})
    with pytest.raises(ValueError, match=re.escape(f"the label {name!r} of the reference")):
        transfer(query, reference, label_set=0.9)
    assert KEY not in query.obs
    assert name in set(transfer(query, reference))


def test_a_label_with_the_name_of_unknown_cells_is_refused(reference, query):
    reference.obs["type"] = reference.obs["type"].cat.rename_categories({"B": "unknown"})
    with pytest.raises(ValueError, match="has a label 'unknown', the name of cells below the threshold"):
        transfer(query, reference, threshold={"coverage": 0.5})
    assert "unknown" in set(transfer(query, reference))


@pytest.mark.parametrize(
    "ids, message",
    [
        (IDS | {"B": "X:99"}, r"1 of 4 terms of labels .* 'X:99'"),
        ({"else": "X:1"}, "has a term for none of the labels 'CD4 T'"),
        (None, "4 of 4 terms of labels .* 'CD4 T', 'CD8 T', 'B', 'mono'"),
    ],
)
def test_unknown_terms_are_named(reference, query, ontology, ids, message):
    with pytest.raises(ValueError, match=message):
        transfer(query, reference, threshold=0.5, ontology=ontology, ontology_ids=ids)


def test_a_reference_of_another_kind_is_refused(query):
    with pytest.raises(TypeError, match="reference is a dict; pass an AnnData, a path or a LabelClassifier"):
        transfer(query, {})


def test_real_cells_of_one_half_label_the_other(test_data):
    import univerce as uc

    adata = ad.read_h5ad(test_data / "eval" / "human_cellines_sc_mixology.h5ad")
    adata = adata[np.random.default_rng(0).permutation(adata.n_obs)[:300]].copy()
    uc.tl.uce_embed(adata, species="human")
    reference, query = adata[:200].copy(), adata[200:].copy()
    transfer_labels(
        query, reference, groupby="cell_type", fit_options={"batch_key": "batch"}, threshold={"coverage": 0.9}
    )
    found, truth = query.obs["cell_type_transferred"].astype(str), query.obs["cell_type"].astype(str)
    assert (found == truth)[found != "unknown"].mean() > 0.9
    assert query.uns["cell_type_transferred"]["scores"]["accuracy"] > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_a_query_without_embeddings_gets_no_label(reference, query, method, caplog):
    query.obsm["X_toy"][:] = np.nan
    with caplog.at_level(logging.INFO, "univerce"):
        found = transfer(query, reference, method=method, threshold={"coverage": 0.9})
    assert f"{query.n_obs} of {query.n_obs} cells have no embedding and get no label." in caplog.text
    assert found.isna().all()
    assert query.obs[f"{KEY}_confidence"].isna().all()
    assert query.uns[f"{KEY}_colors"] == []


def test_embeddings_that_are_computed_when_read(reference, query):
    da = pytest.importorskip("dask.array")
    transfer(query, reference)
    expected = query.obs.copy()
    for adata in (reference, query):
        adata.obsm["X_toy"] = da.from_array(adata.obsm["X_toy"], chunks=(17, 8))
    transfer(query, reference)
    pd.testing.assert_frame_equal(query.obs, expected)

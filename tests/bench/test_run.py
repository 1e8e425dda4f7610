"""The benchmark of one data set: what is scored, what is left out, what is written."""

from __future__ import annotations

import anndata as ad
import dask.array as da
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import KNeighborsClassifier

import univerce as uc
from tests.helpers.bench_cells import BROKEN, NOISE, PLAIN, SHORT, counted_cells, noise, some_method
from univerce.tl.ontology.graph import vacuous_terms

QUICK = {"scib": False, "n_bootstrap": 0, "groupby": "type", "batch_key": "batch"}


def value(scores: pd.DataFrame, method: str, metric: str, group: str = "all") -> float:
    (found,) = scores.query("method == @method and metric == @metric and group == @group")["value"]
    return found


def test_every_run_is_in_obsm_and_in_the_tables_and_no_cell_is_lost():
    adata = counted_cells()
    scores = uc.bench.run(adata, methods=["X_clear", PLAIN, NOISE], seeds=[3, 5], **QUICK)
    runs = adata.uns["benchmark"]["runs"]
    assert list(zip(runs["method"], runs["seed"], runs["obsm"], strict=True)) == [
        ("X_clear", 3, "X_X_clear"),
        ("plain", 3, "X_plain"),
        ("noise", 3, "X_noise_3"),
        ("noise", 5, "X_noise_5"),
    ]
    np.testing.assert_array_equal(adata.obsm["X_plain"], adata.X.toarray())
    expected = np.random.default_rng(5).normal(size=(120, 4)).astype(np.float32)
    np.testing.assert_array_equal(adata.obsm["X_noise_5"], expected)
    assert sum(adata.uns["benchmark"]["params"]["n_cells"].values()) == adata.n_obs
    pd.testing.assert_frame_equal(scores, adata.uns["benchmark"]["table"])
    assert set(scores["seed"][scores["method"] == "noise"]) == {3, 5}


def test_labels_go_to_a_batch_that_the_classifier_has_not_seen():
    adata = counted_cells()
    scores = uc.bench.run(adata, methods=["X_clear"], **QUICK)
    x, y, batch = adata.obsm["X_clear"], adata.obs["type"].to_numpy(), adata.obs["batch"].to_numpy()
    right = np.zeros(len(y))
    for b in ("b0", "b1"):
        mean = x[batch != b].mean(0, dtype=np.float64)
        scale = np.sqrt(np.square(x[batch != b] - mean).mean())
        fitted = LogisticRegression(max_iter=1000).fit((x[batch != b] - mean) / scale, y[batch != b])
        right[batch == b] = fitted.predict((x[batch == b] - mean) / scale) == y[batch == b]
        held_out = value(scores, "X_clear", "transfer logistic accuracy", b)
        assert held_out == pytest.approx(right[batch == b].mean())
    assert value(scores, "X_clear", "transfer logistic accuracy") == pytest.approx(right.mean())


def test_of_the_best_three_a_type_without_votes_has_its_share():
    adata = counted_cells(200, types=5)
    adata.obsm["X_poor"] = adata.obsm["X_clear"] + np.random.default_rng(0).normal(scale=3, size=(200, 5))
    scores = uc.bench.run(adata, methods=["X_poor"], **(QUICK | {"n_bootstrap": 50}))
    x, y, batch = adata.obsm["X_poor"], adata.obs["type"].to_numpy(), adata.obs["batch"].to_numpy()
    expected = []
    for b in ("b0", "b1"):
        fitted = KNeighborsClassifier(15).fit(x[batch != b], y[batch != b])
        for votes, true in zip(fitted.predict_proba(x[batch == b]).round(6), y[batch == b], strict=True):
            mine = votes[list(fitted.classes_).index(true)]
            orders = [votes > mine, votes == mine]
            expected.append(np.clip((3 - orders[0].sum()) / orders[1].sum(), 0, 1))
    (row,) = scores.query("metric == 'transfer kNN top 3 accuracy' and group == 'all'").itertuples()
    assert row.value == pytest.approx(np.mean(expected))
    assert row.low < row.value < row.high
    assert row.value > value(scores, "X_poor", "transfer kNN accuracy")


def test_types_with_terms_have_hierarchical_scores_of_the_predicted_types():
    adata = counted_cells(240, types=4)
    adata.obsm["X_poor"] = adata.obsm["X_clear"] + np.random.default_rng(0).normal(scale=2, size=(240, 4))
    ids = {"t0": "CL:0000624", "t1": "CL:0000625", "t2": "CL:0000236", "t3": "unknown"}  # CD4, CD8, B
    adata.obs["type_ontology_term_id"] = adata.obs["type"].map(ids)
    scores = uc.bench.run(adata, methods=["X_poor"], **(QUICK | {"n_bootstrap": 50}))
    cl = uc.datasets.read_ontology()
    line = {t: ({i} | set(nx.descendants(cl, i))) - vacuous_terms(cl) if i in cl else set() for t, i in ids.items()}
    for name in ("kNN", "transfer logistic"):
        given = adata.obsm["benchmark_predicted"][f"X_X_poor|{name}"]
        pairs = [(line[a], line[b]) for a, b in zip(adata.obs["type"], given, strict=True) if line[a]]
        both = sum(len(a & b) for a, b in pairs)
        (row,) = scores.query(f"metric == '{name} hierarchical f1'").itertuples()
        assert row.value == pytest.approx(2 * both / sum(len(a) + len(b) for a, b in pairs))
        assert row.low < row.value < row.high
    del adata.obs["type_ontology_term_id"]
    assert not uc.bench.run(adata, methods=["X_poor"], **QUICK)["metric"].str.contains("hierarchical").any()


def test_silhouettes_are_those_of_scikit_learn_and_the_best_method_wins_a_type():
    adata = counted_cells()
    scores = uc.bench.run(adata, methods=["X_clear", NOISE], seeds=[0], **QUICK)
    y = adata.obs["type"].to_numpy()
    expected = pd.Series((silhouette_samples(adata.obsm["X_clear"], y) + 1) / 2).groupby(y).mean()
    for name in expected.index:
        assert value(scores, "X_clear", "silhouette", name) == pytest.approx(expected[name], abs=1e-6)
    assert value(scores, "X_clear", "silhouette") == pytest.approx(expected.mean(), abs=1e-6)
    assert value(scores, "X_clear", "types won") == 1
    assert value(scores, "noise", "types won") == 0


def test_a_method_that_fails_is_reported_with_its_reason_and_the_rest_goes_on():
    adata = counted_cells()
    scores = uc.bench.run(adata, methods=[BROKEN, SHORT, "X_clear"], **QUICK)
    failed = scores[scores["kind"] == "failed"].set_index("method")["note"]
    assert failed["broken"] == "RuntimeError: no weights here"
    assert "returned float32 of shape (119, 2)" in failed["short"]
    assert value(scores, "X_clear", "transfer kNN accuracy") > 0.9
    assert list(adata.uns["benchmark"]["runs"]["status"]) == ["failed", "failed", "done"]
    with pytest.raises(ValueError, match="Every run failed; the first, broken: RuntimeError: no weights"):
        uc.bench.run(adata, methods=[BROKEN], **QUICK)


def interrupted(adata, **_):
    raise KeyboardInterrupt


def test_an_interrupt_is_no_failure_of_a_method():
    with pytest.raises(KeyboardInterrupt):
        uc.bench.run(counted_cells(), methods=[some_method("stop", interrupted)], **QUICK)


def test_cells_are_left_out_for_one_stated_reason_each():
    adata = counted_cells()
    adata.obs["type"] = adata.obs["type"].cat.add_categories(["rare"])
    adata.obs.iloc[:4, 0] = "rare"
    adata.obs.iloc[4:9, 0] = np.nan
    adata.obs.iloc[9:11, 1] = np.nan
    adata.obs.iloc[8, 1] = np.nan  # lacks both; the label is named
    adata.obsm["X_clear"][11] = np.nan
    scores = uc.bench.run(adata, methods=["X_clear"], **QUICK)
    assert adata.uns["benchmark"]["params"]["n_cells"] == {
        "scored": 108, "no label": 5, "no batch": 2, "no embedding": 1, "rare type": 4,
    }  # fmt: skip
    types = adata.uns["benchmark"]["types"].set_index("type")
    assert types.loc["rare", ["n_cells", "scored", "rare type"]].tolist() == [4, 0, 4]
    assert types["n_cells"].sum() == 115
    assert scores.query("metric == 'kNN accuracy'")["n_cells"].item() == 108
    assert np.isnan(adata.obsm["benchmark_cells"].iloc[:12]).all(axis=None)


def test_with_one_batch_what_needs_two_is_missing_and_says_so():
    adata = counted_cells(batches=1)
    scores = uc.bench.run(adata, methods=["X_clear"], **QUICK)
    across = scores[scores["metric"].str.startswith(("transfer", "alignment"))]
    assert len(across) == 8
    assert across["value"].isna().all()
    assert set(across["note"]) == {"one batch only"}
    assert value(scores, "X_clear", "kNN accuracy") > 0.9


def test_a_type_of_one_batch_alone_cannot_be_labeled_and_is_counted():
    adata = counted_cells()
    adata.obs.loc[adata.obs["type"] == "t2", "batch"] = "b0"
    scores = uc.bench.run(adata, methods=["X_clear"], **QUICK)
    (row,) = scores.query("metric == 'transfer kNN accuracy' and group == 'all'").itertuples()
    assert row.note == "40 cells of types in one batch only"
    assert row.n_cells == 80


def test_the_order_of_the_cells_changes_no_silhouette_and_no_alignment():
    adata = counted_cells()
    other = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    one, two = (uc.bench.run(a, methods=["X_clear"], **QUICK) for a in (adata, other))
    for metric in ("silhouette", "alignment top 1", "transfer logistic accuracy"):
        assert value(one, "X_clear", metric) == pytest.approx(value(two, "X_clear", metric), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"methods": ["nothing"]}, ValueError, "Unknown method 'nothing'.*The keys of obsm are: 'X_clear'"),
        ({"methods": [PLAIN, PLAIN]}, ValueError, "Two methods have the name 'plain'"),
        ({"methods": []}, ValueError, "methods is empty"),
        ({"features": "some"}, ValueError, "features='some' is not known"),
        ({"groupby": "no"}, KeyError, "adata.obs\\['no'\\] does not exist"),
        ({"layer": "no"}, KeyError, "layer='no' is not in the AnnData"),
        ({"seeds": [1, 1]}, ValueError, "must be different whole numbers"),
        ({"min_cells": 100}, ValueError, "needs two types with 100 cells or more; of 120 cells there are 0 scored"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_fix(change, error, message):
    with pytest.raises(error, match=message):
        uc.bench.run(counted_cells(), **(QUICK | {"methods": ["X_clear"]} | change))


def test_values_that_are_no_counts_are_refused():
    adata = counted_cells()
    adata.X = adata.X * 0.37
    with pytest.raises(ValueError, match="not whole"):
        uc.bench.run(adata, methods=["X_clear"], **QUICK)


def test_the_genes_of_open_problems_are_another_experiment_with_2000_of_them():
    adata = counted_cells(60, 2300)
    widths = {}
    for features in ("all", "open_problems"):
        uc.bench.run(adata, methods=[PLAIN], features=features, **QUICK)
        params = adata.uns["benchmark"]["params"]
        widths[features] = params["n_vars"], adata.obsm["X_plain"].shape[1], params["features"]
    assert widths == {"all": (2300, 2300, "all"), "open_problems": (2000, 2000, "open_problems")}


IDS = [f"{digit * 8}-0000-4000-8000-{digit * 12}" for digit in "abc"]
CITATION = f"Dataset Version: https://datasets.cellxgene.cziscience.com/{IDS[0]}.h5ad"


@pytest.mark.parametrize(
    ("corpus", "obs", "uns", "expected"),
    [
        ("", IDS[0], {}, "no"),
        ("all of CELLxGENE", None, {"citation": CITATION}, "possibly"),
        ("all of CELLxGENE", IDS[0], {}, "unknown"),
        ("blood", None, {"citation": CITATION}, "unknown"),
        (IDS[1:], None, {"citation": CITATION}, "possibly"),  # the version, not the data set
        (IDS, None, {"citation": CITATION}, IDS[0]),
        (IDS[1:], IDS[0], {}, "no"),
        (IDS[:2], [IDS[1], IDS[0], IDS[2]], {}, f"{IDS[1]} | {IDS[0]}"),
        (IDS[1:], [IDS[0], None, IDS[0]], {}, "unknown"),
        (IDS[1:], "our own", {}, "unknown"),
        (IDS[1:], None, {"dataset_id": IDS[2]}, IDS[2]),
    ],
)
def test_the_data_sets_that_a_method_was_trained_on_are_named(corpus, obs, uns, expected):
    adata = counted_cells()
    adata.uns.update(uns)
    if obs is not None:
        adata.obs["dataset_id"] = np.resize(np.array(obs, dtype=object), adata.n_obs)
    uc.bench.run(adata, methods=[some_method("trained", noise, pretrained_on=corpus)], **QUICK)
    assert adata.uns["benchmark"]["runs"]["has_seen"].tolist() == [expected]


@pytest.mark.parametrize("where", ["backed", "dask"])
def test_counts_on_disk_and_in_dask_give_what_those_in_memory_give(where, tmp_path):
    adata, other = counted_cells(), counted_cells()
    adata.write_h5ad(tmp_path / "a.h5ad")
    if where == "backed":
        other = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    else:
        other.X = da.from_array(other.X.toarray(), chunks=(50, other.n_vars))
    calls = {
        "run": lambda a: uc.bench.run(a, methods=[PLAIN, "linear"], **QUICK),
        "query": lambda a: uc.bench.run_transfer(a, adata, methods=[PLAIN], groupby="type", n_bootstrap=0),
        "reference": lambda a: uc.bench.run_transfer(adata, a, methods=[PLAIN], groupby="type", n_bootstrap=0),
    }
    for name, call in calls.items():
        expected, found = (call(a).query("kind != 'cost'") for a in (adata, other))
        pd.testing.assert_frame_equal(found, expected, obj=name)
    half = [uc.bench.degrade(a, "half_counts").X.toarray() for a in (adata, other)]
    np.testing.assert_array_equal(*half)


def test_the_result_survives_a_file(tmp_path):
    adata = counted_cells()
    scores = uc.bench.run(adata, methods=["X_clear", BROKEN], **QUICK)
    adata.write_h5ad(tmp_path / "a.h5ad")
    found = ad.read_h5ad(tmp_path / "a.h5ad").uns["benchmark"]["table"]
    np.testing.assert_array_equal(found["value"], scores["value"])

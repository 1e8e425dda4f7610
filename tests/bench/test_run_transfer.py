"""Labels from one data set to another."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

import univerce as uc
from tests.helpers.bench_cells import BROKEN, NOISE, PLAIN, counted_cells, some_method
from univerce.tl.ontology.graph import vacuous_terms

QUICK = {"groupby": "type", "n_bootstrap": 0}


@pytest.fixture
def pair():
    return counted_cells(90, seed=1, prefix="q"), counted_cells(120, seed=2, prefix="r")


def value(scores, method, metric):
    (found,) = scores.query("method == @method and metric == @metric")["value"]
    return found


def test_neighbors_in_the_reference_label_the_query(pair):
    query, reference = pair
    scores = uc.bench.run_transfer(query, reference, methods=["X_clear"], **QUICK)
    fitted = KNeighborsClassifier(15).fit(reference.obsm["X_clear"], reference.obs["type"])
    given = fitted.predict(query.obsm["X_clear"])
    assert value(scores, "X_clear", "kNN accuracy") == pytest.approx((given == query.obs["type"]).mean())
    expected = f1_score(query.obs["type"], given, average="macro")
    assert value(scores, "X_clear", "kNN macro-F1") == pytest.approx(expected)
    assert value(scores, "X_clear", "centroid top 1") == 1


def test_a_wrong_type_counts_by_the_ancestors_it_shares(pair):
    """t0 and t1 share three of their terms, t2 one; recomputed cell by cell."""
    query, reference = pair
    rng = np.random.default_rng(0)
    for side in pair:
        side.obsm["X_poor"] = side.obsm["X_clear"] + rng.normal(scale=2, size=side.obsm["X_clear"].shape)
    ids = {"t0": "CD4-positive, alpha-beta T cell", "t1": "CD8-positive, alpha-beta T cell", "t2": "CL:0000236"}
    options = QUICK | {"methods": ["X_poor"], "ontology": "CL", "ontology_ids": ids}
    scores = uc.bench.run_transfer(query, reference, **options)
    cl = uc.datasets.read_ontology()
    names = {entry["name"]: term for term, entry in cl.nodes(data=True)}
    line = {t: {names.get(i, i)} | set(nx.descendants(cl, names.get(i, i))) for t, i in ids.items()}
    line = {t: terms - vacuous_terms(cl) for t, terms in line.items()}
    given = KNeighborsClassifier(15).fit(reference.obsm["X_poor"], reference.obs["type"]).predict(query.obsm["X_poor"])
    both = sum(len(line[a] & line[b]) for a, b in zip(query.obs["type"], given, strict=True))
    n = sum(len(line[a]) + len(line[b]) for a, b in zip(query.obs["type"], given, strict=True))
    assert value(scores, "X_poor", "kNN hierarchical f1") == pytest.approx(2 * both / n)
    assert value(scores, "X_poor", "kNN accuracy") < 2 * both / n < 1
    assert value(scores, "X_poor", "kNN top 3 accuracy") == 1
    assert "largest type" in set(scores.query("metric == 'kNN hierarchical f1'")["method"])
    (row,) = (
        uc.bench.run_transfer(query, reference, **(options | {"n_bootstrap": 50}))
        .query("metric == 'kNN hierarchical f1' and method == 'X_poor'")
        .itertuples()
    )
    assert row.low < row.value < row.high


def test_the_largest_type_of_the_reference_is_the_trivial_baseline(pair):
    query, reference = pair
    reference = reference[np.r_[:60, np.flatnonzero(reference.obs["type"] == "t1")[20:]]].copy()
    scores = uc.bench.run_transfer(query, reference, methods=["X_clear"], **QUICK)
    assert reference.obs["type"].value_counts().idxmax() == "t1"
    expected = (query.obs["type"] == "t1").mean()
    assert value(scores, "largest type", "logistic accuracy") == pytest.approx(expected)


def test_fitted_methods_see_one_data_set_on_the_shared_genes_without_a_label_of_the_query(pair):
    query, reference = pair
    query.var_names = [name.capitalize() for name in query.var_names]
    query = query[:, 5:].copy()
    seen = {}

    def look(adata, *, batch_key, groupby, rng):
        seen.update(obs=adata.obs[[batch_key, groupby]].copy(), var=list(adata.var_names), x=adata.X.toarray())
        return adata.X.toarray()

    scores = uc.bench.run_transfer(query, reference, methods=[some_method("look", look)], **QUICK)
    assert list(seen["obs"].iloc[:, 0].value_counts(sort=False)) == [90, 120]
    assert seen["obs"].iloc[:90, 1].isna().all()
    assert seen["obs"].iloc[90:, 1].astype(str).tolist() == reference.obs["type"].astype(str).tolist()
    assert "type" not in seen["obs"].columns
    assert set(seen["var"]) == {f"GENE{i}" for i in range(5, 60)}
    columns = [int(name.removeprefix("GENE")) for name in seen["var"]]
    np.testing.assert_array_equal(seen["x"][90:], reference.X.toarray()[:, columns])
    np.testing.assert_array_equal(seen["x"][:90], query.X.toarray()[:, np.array(columns) - 5])
    assert value(scores, "look", "logistic accuracy") > 0.9
    np.testing.assert_array_equal(query.obsm["X_transfer_look"], seen["x"][:90])
    np.testing.assert_array_equal(reference.obsm["X_transfer_look"], seen["x"][90:])


def test_a_method_that_knows_all_genes_sees_one_data_set_at_a_time(pair):
    query, reference = pair
    query.var_names = [f"other {i}" for i in range(60)]
    shapes = []

    def look(adata, *, batch_key, groupby, rng):
        shapes.append((adata.shape, batch_key, groupby, "type" in adata.obs))
        return np.asarray(adata.X[:, :10].toarray())

    methods = [some_method("look", look, own_genes=True), PLAIN]
    scores = uc.bench.run_transfer(query, reference, methods=methods, **QUICK)
    assert shapes == [((90, 60), None, None, False), ((120, 60), None, None, False)]
    failed = scores[scores["kind"] == "failed"].set_index("method")["note"]
    assert failed.to_dict() == {"plain": "query and reference share no gene by name"}


def test_types_missing_in_the_reference_are_counted_not_scored(pair):
    query, reference = pair
    reference.obs["type"] = reference.obs["type"].cat.rename_categories({"t2": "u"})
    query.obs.iloc[0, 0] = np.nan
    scores = uc.bench.run_transfer(query, reference, methods=["X_clear", BROKEN, NOISE], seeds=[0, 1], **QUICK)
    counts = query.uns["benchmark_transfer"]["params"]["n_cells"]
    assert counts == {
        "scored": 59, "no label": 1, "no embedding": 0, "type not in reference": 30,
        "fitted": 120, "reference, not fitted": 0,
    }  # fmt: skip
    assert scores.query("method == 'noise' and metric == 'kNN accuracy'")["seed"].tolist() == [0, 1]
    confusion = query.uns["benchmark_transfer"]["confusion"]
    assert confusion.query("method == 'X_clear'")["n_cells"].sum() == 59


def test_two_methods_of_one_pair_are_compared_over_the_donors_of_the_query(pair):
    query, reference = pair
    query.obs["donor"] = [f"d{i % 6}" for i in range(query.n_obs)]
    options = QUICK | {"methods": ["X_clear", NOISE], "n_bootstrap": 50}
    scores = uc.bench.run_transfer(query, reference, donor_key="donor", **options)
    assert set(scores["unit"][scores["low"].notna()]) == {"donor", "types"}
    without = scores["low"].isna() & (scores["kind"] == "transfer") & (scores["method"] != "largest type")
    assert not without.any()
    table = uc.bench.compare(query, "X_clear", "noise", key="benchmark_transfer").set_index("metric")
    assert table.loc["logistic accuracy", ["winner", "unit", "n_units"]].tolist() == ["X_clear", "donor", 6]
    scores = uc.bench.run_transfer(query, reference, **options)
    assert set(scores["unit"][scores["low"].notna()]) == {"cells", "types"}
    macro = table.loc["logistic macro-F1"]
    assert macro["winner"] == "X_clear"
    mine = scores.query("metric == 'logistic macro-F1'").groupby("method")["value"].mean()
    assert macro["difference"] == pytest.approx(mine["X_clear"] - mine["noise"])


def test_spaces_of_two_widths_are_a_failure_with_its_reason(pair):
    query, reference = pair
    query.obsm["X_clear"] = query.obsm["X_clear"][:, :2]
    with pytest.raises(ValueError, match="2 columns in the query and 3 in the reference are different spaces"):
        uc.bench.run_transfer(query, reference, methods=["X_clear"], **QUICK)


def test_data_without_common_types_or_columns_is_refused(pair):
    query, reference = pair
    reference.obs["type"] = pd.Categorical(["x", "y"] * 60)
    with pytest.raises(ValueError, match=r"has 2 types .* and 0 cells of adata"):
        uc.bench.run_transfer(query, reference, methods=["X_clear"], **QUICK)
    with pytest.raises(KeyError, match=r"groupby='no' is not in adata.obs"):
        uc.bench.run_transfer(query, reference, methods=["X_clear"], **(QUICK | {"groupby": "no"}))

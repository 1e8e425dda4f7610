"""Distances in an embedding by distances in an ontology: against scipy, networkx and all pairs."""

from __future__ import annotations

import itertools

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import paired_distances

from tests.helpers.obo import IDS, TERMS, write_obo
from univerce.io.obo import read_obo
from univerce.tl.ontology._pairs import density, draw_pairs, pair_distances, summarize_by_distance, type_means
from univerce.tl.ontology.ontology_distance import ontology_distance


@pytest.fixture
def adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    names = rng.choice(["CD4 T cell", "CD8 T cell", "B cell", "monocyte", "enterocyte"], 80)
    adata = ad.AnnData(obs=pd.DataFrame({"cell_type": pd.Categorical(names)}, index=[f"c{i}" for i in range(80)]))
    adata.obs["id"] = [IDS[name] for name in names]
    depth = {"CD4 T cell": 0, "CD8 T cell": 1, "B cell": 2, "monocyte": 4, "enterocyte": 9}
    adata.obsm["X_e"] = np.array([[depth[name], 0] for name in names]) + rng.normal(size=(80, 2))
    return adata


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_equal_those_of_all_pairs(adata, obo, metric):
    """With many draws, the distributions come close to those of every pair."""
    table = ontology_distance(adata, ontology=obo, ontology_ids="id", use_rep="X_e", metric=metric, n_pairs=60_000)
    graph = nx.Graph(read_obo(obo))
    apart = pairwise_distances(adata.obsm["X_e"], metric=metric)
    rows = [
        (nx.shortest_path_length(graph, adata.obs["id"].iloc[i], adata.obs["id"].iloc[j]), apart[i, j])
        for i, j in itertools.combinations(range(80), 2)
    ]
    expected = pd.DataFrame(rows, columns=["steps", "apart"]).groupby("steps")["apart"].agg(["mean", "std", "count"])
    assert table["ontology_distance"].tolist() == expected.index.tolist() == [0, 2, 3, 4, 5, 6]
    error = 6 * expected["std"].to_numpy() / np.sqrt(table["n_pairs"])
    assert (np.abs(table["mean"] - expected["mean"].to_numpy()) < error).all()
    np.testing.assert_allclose(table["n_pairs"] / 60_000, expected["count"] / len(rows), atol=0.012)
    expected = stats.spearmanr(*np.transpose(rows)).statistic
    assert adata.uns["ontology_distance"]["spearman"] == pytest.approx(expected, abs=0.02)


def test_every_two_types_count_once_whatever_their_cells():
    a, b = np.array([0, 1, 1, 2, 2]), np.array([1, 0, 1, 0, 2])
    steps, means = type_means(a, b, np.array([3, 3, 0, 5, 0]), np.array([1.0, 2, 9, 4, 9]))
    assert (steps.tolist(), means.tolist()) == ([3, 5], [1.5, 4])


def test_successive_distances_are_compared_as_scipy_does():
    rng = np.random.default_rng(0)
    groups = rng.choice([0, 2, 5], 300, p=[0.2, 0.3, 0.5])
    values = rng.normal(groups, 1 + groups)
    table = summarize_by_distance(groups, values)
    parts = {g: values[groups == g] for g in (0, 2, 5)}
    for (before, after), row in zip([(0, 2), (2, 5)], table.iloc[1:].itertuples(), strict=True):
        test = stats.ttest_ind(parts[after], parts[before], equal_var=False, alternative="greater")
        assert (row.t, row.p_value) == (test.statistic, test.pvalue)
        n, m = len(parts[after]), len(parts[before])
        pooled = np.sqrt(((n - 1) * parts[after].var(ddof=1) + (m - 1) * parts[before].var(ddof=1)) / (n + m - 2))
        assert row.d == pytest.approx((parts[after].mean() - parts[before].mean()) / pooled)
    assert table[["t", "p_value", "d"]].iloc[0].isna().all()
    described = pd.Series(values).groupby(groups).describe()
    np.testing.assert_allclose(
        table[["mean", "std", "q25", "median", "q75"]], described[["mean", "std", "25%", "50%", "75%"]]
    )


def test_a_distance_of_one_pair_has_no_test():
    table = summarize_by_distance(np.array([0, 0, 1, 2, 2]), np.array([1.0, 2, 3, 4, 4]))
    assert table["std"].isna().tolist() == [False, True, False]
    assert table["p_value"].isna().all()
    assert summarize_by_distance(np.array([0, 0, 1, 1]), np.ones(4))["d"].isna().all()


def test_pairs_are_of_two_cells_and_all_equally_likely():
    first, second = draw_pairs(5, 50_000, np.random.default_rng(0))
    assert (first != second).all()
    counts = np.zeros((5, 5))
    np.add.at(counts, (first, second), 1)
    np.testing.assert_allclose(counts[~np.eye(5, dtype=bool)] / 50_000, 1 / 20, atol=0.006)


def test_pair_distances_equal_scikit_learns_across_blocks():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 4))
    first, second = rng.integers(0, 50, 20_000), rng.integers(0, 50, 20_000)
    for metric in ("euclidean", "cosine"):
        expected = paired_distances(points[first], points[second], metric=metric)
        np.testing.assert_allclose(pair_distances(points, first, second, metric), expected, atol=1e-7)


def test_densities_are_those_of_scipy_and_sum_to_one():
    rng = np.random.default_rng(0)
    groups, values = np.repeat([0, 3, 4], [100, 50, 1]), rng.normal(size=151)
    table = density(groups, values)
    assert table.columns.tolist() == ["x", "0", "3", "4"]
    np.testing.assert_allclose(table["3"], stats.gaussian_kde(values[100:150])(table["x"]))
    assert np.trapezoid(table["0"], table["x"]) == pytest.approx(1, abs=0.05)
    assert table["4"].isna().all()


def test_the_order_of_cells_and_cells_without_term_or_embedding_do_not_matter(adata, obo):
    expected = ontology_distance(adata, ontology=obo, ontology_ids=IDS, use_rep="X_e", n_pairs=500)
    extra = adata[:10].copy()
    extra.obs_names = [f"extra{i}" for i in range(10)]
    extra.obsm["X_e"][:5] = np.nan
    extra.obs["cell_type"] = pd.Categorical(["B cell"] * 5 + ["of no term"] * 5)
    more = ad.concat([extra, adata])
    more = more[np.random.default_rng(1).permutation(90)].copy()
    found = ontology_distance(more, ontology=obo, ontology_ids=IDS, use_rep="X_e", n_pairs=500)
    pd.testing.assert_frame_equal(found, expected)
    other = ontology_distance(adata, ontology=obo, ontology_ids=IDS, use_rep="X_e", n_pairs=500, rng=1)
    assert not other["mean"].equals(expected["mean"])


def test_the_result_is_read_from_a_file(adata, obo, tmp_path):
    table = ontology_distance(adata, ontology=read_obo(obo), ontology_ids="id", use_rep="X_e", n_pairs=200)
    adata.write_h5ad(tmp_path / "a.h5ad")
    read = ad.read_h5ad(tmp_path / "a.h5ad").uns["ontology_distance"]
    pd.testing.assert_frame_equal(read["table"].reset_index(drop=True), table)
    assert read["spearman"] == adata.uns["ontology_distance"]["spearman"]
    assert read["params"]["ontology"] == "small"


def test_terms_that_are_not_connected_are_left_out(adata, tmp_path):
    pytest.importorskip("obonet")
    apart = {term: (name, parents if term != "CL:2" else []) for term, (name, parents) in TERMS.items()}
    obo = write_obo(tmp_path / "apart.obo", apart)
    table = ontology_distance(adata, ontology=obo, ontology_ids="id", use_rep="X_e", n_pairs=2000)
    assert table["ontology_distance"].tolist() == [0, 2, 3, 4, 5]
    assert table["n_pairs"].sum() < 2000
    two = adata[adata.obs["cell_type"].isin(["enterocyte", "B cell"])].copy()
    two = two[np.unique(two.obs["cell_type"].to_numpy(str), return_index=True)[1]].copy()
    with pytest.raises(ValueError, match="The terms CL:10, CL:6 are not connected"):
        ontology_distance(two, ontology=obo, ontology_ids="id", use_rep="X_e", n_pairs=10)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"metric": "city"}, ValueError, "metric='city' is not known"),
        ({"n_pairs": 0}, ValueError, "n_pairs=0 must be an integer >= 1"),
        ({"ontology_ids": {"B cell": "CL:77"}}, ValueError, "not terms of the ontology.*CL:77"),
        ({"ontology_ids": {"B cell": "CL:6"}}, ValueError, "At least two terms.*there are 1: CL:6"),
        ({"ontology_ids": "none"}, KeyError, r"obs\['none'\] does not exist"),
        ({"use_rep": "X_none"}, KeyError, r"obsm\['X_none'\] does not exist"),
        ({"use_rep": "X_nan"}, ValueError, "At least two terms are needed.*there are 0: none"),
    ],
)
def test_invalid_input_is_named(adata, obo, change, error, message):
    adata.obsm["X_nan"] = np.full((80, 2), np.nan)
    with pytest.raises(error, match=message):
        ontology_distance(adata, **({"ontology": obo, "ontology_ids": "id", "use_rep": "X_e"} | change))

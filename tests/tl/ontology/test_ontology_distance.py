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
from univerce.tl.ontology._pairs import (
    TypePairs,
    compare_steps,
    density,
    draw_pairs,
    pair_distances,
    summarize_by_distance,
)
from univerce.tl.ontology.graph import tree_distances
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
    graph = nx.Graph(read_obo(obo))  # in which no path leads through a common subtype
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


def drawn_pairs(rng, points, labels, n=4000):
    first, second = draw_pairs(len(labels), n, rng)
    return labels[first], labels[second], np.linalg.norm(points[first] - points[second], axis=1)


def test_effects_and_the_correlation_of_types_are_those_of_pandas_and_scipy():
    rng = np.random.default_rng(0)
    steps = np.array([[0, 2, 2, 5], [2, 0, 2, 5], [2, 2, 0, np.inf], [5, 5, np.inf, 0]])
    labels = rng.choice(4, 60, p=[0.4, 0.3, 0.2, 0.1])
    a, b, apart = drawn_pairs(rng, rng.normal(labels[:, None], 1, (60, 2)), labels)
    a, b, apart = (x[np.isfinite(steps[a, b])] for x in (a, b, apart))
    pairs = TypePairs.sum(steps, a, b, apart)
    table, of_types = compare_steps(pairs, np.array([0, 2, 5]), 20, 20, rng)
    parts = {g: apart[steps[a, b] == g] for g in (0, 2, 5)}
    for (before, after), row in zip([(0, 2), (2, 5)], table.iloc[1:].itertuples(), strict=True):
        n, m = len(parts[after]), len(parts[before])
        pooled = np.sqrt(((n - 1) * parts[after].var(ddof=1) + (m - 1) * parts[before].var(ddof=1)) / (n + m - 2))
        assert row.d == pytest.approx((parts[after].mean() - parts[before].mean()) / pooled)
    assert table.iloc[0].isna().all()
    assert table["p_value"].isna().tolist() == [True, True, False]
    cells = pd.DataFrame({"a": np.minimum(a, b), "b": np.maximum(a, b), "steps": steps[a, b], "apart": apart})
    means = cells[a != b].groupby(["a", "b"]).mean()
    assert of_types["spearman"] == pytest.approx(stats.spearmanr(means["steps"], means["apart"]).statistic)


def test_shuffles_deal_the_terms_to_the_types():
    """With three types, p-values follow from all six orders."""
    steps = np.array([[0, 2, 4], [2, 0, 4], [4, 4, 0.0]])
    means = np.array([[1, 1, 3], [1, 1, 2], [3, 2, 1.0]])
    a, b = (np.repeat(x, 50) for x in np.triu_indices(3))
    apart = means[a, b] + np.tile(np.linspace(-0.1, 0.1, 50), 6)
    pairs = TypePairs.sum(steps, a, b, apart)
    table, of_types = compare_steps(pairs, np.array([0, 2, 4]), 3000, 10, np.random.default_rng(0))
    # The terms 2 steps apart belong to the closest types in two of six orders, and no other order reaches the effect.
    assert table["p_value"].iloc[-1] == pytest.approx(1 / 3, abs=0.03)
    assert of_types["p_value"] == pytest.approx(1 / 3, abs=0.03)


def test_without_relation_p_values_are_uniform_and_with_one_they_are_small():
    rng = np.random.default_rng(0)
    tree = nx.balanced_tree(2, 3, create_using=nx.DiGraph).reverse()
    tree = nx.relabel_nodes(tree, str)
    leaves = [str(i) for i in range(7, 15)]
    steps, distances = tree_distances(tree, leaves), np.array([0, 2, 4, 6])
    up = np.array([[leaf in nx.ancestors(tree, node) | {node} for node in tree] for leaf in leaves], dtype=float)
    p, of_types, related = [], [], []
    for repeat in range(200):
        centers = rng.normal(size=(8, 4))
        labels = rng.choice(8, 100, p=np.arange(1, 9) / 36)
        for kind, where in (("null", centers), ("related", up @ rng.normal(size=(15, 6)))):
            if kind == "related" and repeat >= 10:
                continue
            points = where[labels] + 0.3 * rng.normal(size=(100, where.shape[1]))
            pairs = TypePairs.sum(steps, *drawn_pairs(rng, points, labels))
            table, summary = compare_steps(pairs, distances, 99, 0, rng)
            if kind == "related":
                related.append(summary["p_value"])
            else:
                p += table["p_value"].dropna().tolist()
                of_types.append(summary["p_value"])
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.08
    assert 0.01 < np.mean(np.array(of_types) <= 0.05) < 0.1
    assert np.median(related) < 0.05


def test_a_distance_of_one_pair_has_no_effect():
    steps = np.array([[0, 1], [1, 0.0]])
    for a, b, apart in (([0, 0, 0], [0, 0, 1], [1.0, 2, 3]), ([0, 0, 0, 0], [0, 0, 1, 1], np.ones(4))):
        pairs = TypePairs.sum(steps, np.array(a), np.array(b), np.array(apart))
        assert compare_steps(pairs, np.array([0, 1]), 5, 5, np.random.default_rng(0))[0].isna().all(axis=None)
    described = summarize_by_distance(np.array([0, 0, 1]), np.array([1.0, 2, 3]))
    assert described["std"].isna().tolist() == [False, True]


def test_each_distance_is_described_as_by_pandas():
    rng = np.random.default_rng(0)
    groups = rng.choice([0, 2, 5], 300, p=[0.2, 0.3, 0.5])
    values = rng.normal(groups, 1 + groups)
    table = summarize_by_distance(groups, values)
    described = pd.Series(values).groupby(groups).describe()
    np.testing.assert_allclose(
        table[["mean", "std", "q25", "median", "q75"]], described[["mean", "std", "25%", "50%", "75%"]]
    )


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


def test_the_ontology_of_a_graph_is_recorded_by_name(adata, obo):
    ontology_distance(adata, ontology=read_obo(obo), ontology_ids="id", use_rep="X_e", n_pairs=200)
    assert adata.uns["ontology_distance"]["params"]["ontology"] == "small"


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

"""Trees of types: against scipy, scanpy and scikit-learn."""

from __future__ import annotations

import logging
import tracemalloc

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.cluster.hierarchy as sch
from sklearn.metrics import adjusted_rand_score

from tests.helpers.obo import IDS
from univerce import get
from univerce.io.obo import read_obo
from univerce.tl.ontology.dendrogram import adjusted_rand, cut_linkage, dendrogram
from univerce.tl.ontology.terms import depth_cuts, tree_paths

# Where the types lie on a line: the ontology's order, but for the macrophage among the epithelial cells.
PLACES = {
    "CD4 T cell": 0, "CD8 T cell": 1, "B cell": 3, "monocyte": 8, "macrophage": 21, "enterocyte": 20, "goblet cell": 25,
}  # fmt: skip
REP = {"use_rep": "X_e", "min_cells": 1}


@pytest.fixture
def adata() -> ad.AnnData:
    names = np.repeat(list(PLACES), 3)
    adata = ad.AnnData(np.ones((len(names), 4), dtype=np.float32), obs={"cell_type": pd.Categorical(names)})
    adata.obs_names = [f"c{i}" for i in range(len(names))]
    noise = np.random.default_rng(0).normal(scale=0.01, size=(len(names), 3))
    adata.obsm["X_e"] = np.stack([[PLACES[name], 0, 0] for name in names]) + noise
    return adata


@pytest.mark.parametrize(
    ("method", "metric"),
    [("single", "euclidean"), ("average", "euclidean"), ("ward", "euclidean"), ("average", "cosine")],
)
def test_the_tree_equals_scipys_of_the_means(adata, method, metric):
    copied = dendrogram(adata, **REP, linkage_method=method, metric=metric, copy=True)
    assert "uce_dendrogram" not in adata.uns
    assert dendrogram(adata, **REP, linkage_method=method, metric=metric) is None
    np.testing.assert_array_equal(copied.uns["uce_dendrogram"]["linkage"], adata.uns["uce_dendrogram"]["linkage"])
    means = pd.DataFrame(adata.obsm["X_e"].astype(np.float32)).groupby(adata.obs["cell_type"].to_numpy(str)).mean()
    expected = sch.linkage(means.astype(np.float64), method, metric)
    written = adata.uns["uce_dendrogram"]
    np.testing.assert_allclose(np.sort(written["linkage"][:, 2]), np.sort(expected[:, 2]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sch.cophenet(written["linkage"]), sch.cophenet(expected), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(written["correlation_matrix"], means.T.corr(), atol=1e-6)
    assert [*means.index[written["categories_idx_ordered"]]] == list(written["categories_ordered"])


def test_scanpy_draws_it(adata, tmp_path):
    dendrogram(adata, **REP)
    adata.write_h5ad(tmp_path / "a.h5ad")
    for data in (adata, ad.read_h5ad(tmp_path / "a.h5ad")):
        ax = sc.pl.dendrogram(data, "cell_type", dendrogram_key="uce_dendrogram", show=False)
        assert [t.get_text() for t in ax.get_xticklabels()] == list(data.uns["uce_dendrogram"]["categories_ordered"])
        plots = sc.pl.matrixplot(data, data.var_names[:2], "cell_type", dendrogram="uce_dendrogram", show=False)
        rows = [t.get_text() for t in plots["mainplot_ax"].get_yticklabels()]
        assert rows == list(data.uns["uce_dendrogram"]["categories_ordered"])
        sc.pl.correlation_matrix(data, "cell_type", dendrogram="uce_dendrogram", show=False)


def test_agreement_with_the_ontology_is_that_of_its_cuts(adata, obo):
    dendrogram(adata, **REP, ontology=obo, ontology_ids=IDS, n_permutations=2000)
    table = get.table(adata, "uce_dendrogram")
    names = sorted(PLACES)
    blood = ["B cell", "CD4 T cell", "CD8 T cell", "macrophage", "monocyte"]
    epithelial = ["enterocyte", "goblet cell"]
    first = [name in epithelial for name in names]
    tree = sch.linkage(np.array([[PLACES[name]] for name in names]), "average")
    expected = adjusted_rand_score(first, sch.fcluster(tree, 2, "maxclust"))
    row = table.iloc[0]
    assert (row["depth"], row["n_clusters"]) == (1, 2)
    assert row["ari"] == pytest.approx(expected)
    assert 0 < expected < 1
    assert row["chance"] == pytest.approx(0, abs=0.03)
    assert row["chance_low"] < 0 < row["chance_high"]
    assert 1 / 2001 <= row["p_value"] < 0.3
    assert table["depth"].is_monotonic_increasing
    clusters = adata.uns["uce_dendrogram"]["terms"]
    assert clusters["1"].to_dict() == dict.fromkeys(blood, "blood cell") | dict.fromkeys(epithelial, "epithelial cell")
    assert clusters["2"].to_dict() == {
        "B cell": "lymphocyte", "CD4 T cell": "lymphocyte", "CD8 T cell": "lymphocyte", "macrophage": "myeloid cell",
        "monocyte": "myeloid cell", "enterocyte": "enterocyte", "goblet cell": "goblet cell",
    }  # fmt: skip


def test_a_tree_that_is_the_ontology_agrees_at_each_cut(adata, obo):
    """The names of the types are terms too, and a column may hold them."""
    order = ["macrophage", "monocyte", "B cell", "CD4 T cell", "CD8 T cell", "enterocyte", "goblet cell"]
    places = dict(zip(order, [0, 10, 110, 100, 99, 300, 305], strict=True))
    adata.obsm["X_e"] = np.array([[places[name]] for name in adata.obs["cell_type"]], dtype=float)
    dendrogram(adata, **REP, ontology=read_obo(obo), ontology_ids="cell_type", n_permutations=0)
    table = get.table(adata, "uce_dendrogram")
    assert table["n_clusters"].tolist() == sorted(table["n_clusters"])
    assert table["ari"].iloc[0] == 1
    assert table[["chance", "p_value"]].isna().all(axis=None)


def test_types_without_a_term_are_in_the_tree_and_not_compared(adata, obo, caplog):
    ids = {name: term for name, term in IDS.items() if name != "macrophage"}
    with caplog.at_level(logging.INFO, "univerce"):
        dendrogram(adata, **REP, ontology=obo, ontology_ids=ids, n_permutations=10)
    written, expected = adata.uns["uce_dendrogram"], get.table(adata, "uce_dendrogram")
    assert len(written["categories_ordered"]) == 7
    assert sorted(written["terms"].index) == sorted(set(PLACES) - {"macrophage"})
    assert "1 labels without a term are left out: 'macrophage'." in caplog.text
    for kind, missing in ((dict, None), (dict, ""), (pd.Series, np.nan)):
        dendrogram(adata, **REP, ontology=obo, ontology_ids=kind(ids | {"macrophage": missing}), n_permutations=10)
        pd.testing.assert_frame_equal(get.table(adata, "uce_dendrogram"), expected)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"linkage_method": "upgma"}, ValueError, "linkage_method='upgma' is not known"),
        ({"metric": "city"}, ValueError, "metric='city' is not known"),
        ({"linkage_method": "ward", "metric": "cosine"}, ValueError, "cannot be used with linkage_method='ward'"),
        ({"ontology_ids": "x"}, ValueError, "ontology_ids= is given without ontology="),
        ({"min_cells": 0}, ValueError, "min_cells=0 must be an integer >= 1"),
        ({"n_permutations": -1}, ValueError, "n_permutations=-1 must be an integer"),
        ({"min_cells": 4}, ValueError, "min_cells=4 cells or more"),
        ({"groupby": "none"}, KeyError, r"obs\['none'\] does not exist"),
        ({"groupby": "one"}, ValueError, r"obs\['one'\] has one type, 'B cell'"),
    ],
)
def test_invalid_input_is_named(adata, change, error, message):
    adata.obs["one"] = "B cell"
    with pytest.raises(error, match=message):
        dendrogram(adata, **(REP | change))


def test_bad_terms_are_named(adata, obo):
    with pytest.raises(ValueError, match=r"1 of 1 terms in ontology_ids are not terms of the ontology 'small'.*CL:99"):
        dendrogram(adata, **REP, ontology=obo, ontology_ids={"B cell": "CL:99"})
    with pytest.raises(ValueError, match="has none of the labels"):
        dendrogram(adata, **REP, ontology=obo, ontology_ids={"b": "CL:6"})
    with pytest.raises(ValueError, match=r"does not partition the 1 types of obs\['cell_type'\]"):
        dendrogram(adata, **REP, ontology=obo, ontology_ids={"B cell": "CL:6"})
    adata.obs["id"] = ["CL:5", "CL:6", *["CL:7"] * 19]
    with pytest.raises(ValueError, match=r"have several terms, such as .*'CD4 T cell' with CL:5, CL:6, CL:7"):
        dendrogram(adata, **REP, ontology=obo, ontology_ids="id")


@pytest.mark.parametrize("method", ["average", "centroid", "single"])
def test_a_cut_has_the_number_of_clusters_asked_for(method):
    """scipy's cut_tree has not when merges invert (centroid), and equals ours when they neither invert nor tie."""
    tree = sch.linkage(np.random.default_rng(0).normal(size=(25, 3)), method)
    for n in range(1, 26):
        assert len(set(cut_linkage(tree, n))) == n
        if method != "centroid":
            assert adjusted_rand_score(cut_linkage(tree, n), sch.cut_tree(tree, n).ravel()) == 1
    ties = sch.linkage(np.arange(6.0)[:, None], "single")
    assert [len(set(cut_linkage(ties, n))) for n in range(1, 7)] == [1, 2, 3, 4, 5, 6]


def test_the_adjusted_rand_index_equals_scikit_learns():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 30), rng.integers(0, 6, (50, 30))
    np.testing.assert_allclose(adjusted_rand(a, b), [adjusted_rand_score(a, x) for x in b], atol=1e-12)
    same = np.zeros(5, dtype=int)
    assert adjusted_rand(same, same[None]) == adjusted_rand_score(same, same) == 1
    assert adjusted_rand(np.arange(5), np.arange(5)[None]) == 1


def test_shuffles_of_hundreds_of_types_need_little_memory():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 200, 400)
    b = rng.permuted(np.tile(a, (200, 1)), axis=1)
    tracemalloc.start()
    found = adjusted_rand(a, b)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6  # all tables of 200 x 200 at once would be 64 MB
    assert found[0] == pytest.approx(adjusted_rand_score(a, b[0]))


def test_paths_are_the_longest_ways(obo):
    assert tree_paths(read_obo(obo), ["CL:12", "CL:8", "CL:7", "CL:0"]) == [
        ["CL:0", "CL:1", "CL:3", "CL:5", "CL:12"],
        ["CL:0", "CL:1", "CL:4", "CL:8"],  # a myeloid cell lies deeper than a motile cell
        ["CL:0", "CL:1", "CL:4", "CL:7"],  # blood cell and motile cell are equally deep
        ["CL:0"],
    ]


def test_cuts_keep_a_path_that_ends_and_each_partition_once():
    cuts = depth_cuts([["r", "a"], ["r", "a", "c", "e"], ["r", "b", "d"], ["r", "b", "d", "f"]])
    assert cuts.to_dict("list") == {1: ["a", "a", "b", "b"], 2: ["a", "c", "d", "d"]}

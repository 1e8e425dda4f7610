"""The figure of a tree says what the tree says, and fits."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

from tests.helpers.obo import IDS, write_obo
from tests.helpers.page import check_page
from univerce.pl.ontology.dendrogram import dendrogram as plot
from univerce.tl.ontology.dendrogram import dendrogram

NAMES = ["CD4 T cell", "CD8 T cell", "B cell", "monocyte", "macrophage", "enterocyte", "goblet cell"]
LONG = "a type without a term whose name is much longer than one line of any figure can be"


@pytest.fixture
def adata() -> ad.AnnData:
    names = [*NAMES, LONG] * 3
    adata = ad.AnnData(np.ones((24, 2)), obs={"cell_type": pd.Categorical(names)})
    adata.obsm["X_e"] = np.random.default_rng(0).normal(size=(24, 3))
    return adata


@pytest.fixture
def compared(adata, tmp_path) -> ad.AnnData:
    pytest.importorskip("obonet")
    obo = write_obo(tmp_path / "a.obo")
    dendrogram(adata, use_rep="X_e", min_cells=1, ontology=obo, ontology_ids=IDS, n_permutations=50)
    return adata


def test_the_tree_merges_where_the_linkage_does(adata):
    dendrogram(adata, use_rep="X_e", min_cells=1)
    ax = plot(adata, show=False)
    heights = sorted(line.get_xdata()[1] for line in ax.lines)
    np.testing.assert_allclose(heights, np.sort(adata.uns["uce_dendrogram"]["linkage"][:, 2]))
    labels = [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()]
    assert labels == list(adata.uns["uce_dendrogram"]["categories_ordered"])


def test_types_that_all_lie_on_one_point_can_be_drawn(adata):
    adata.obsm["X_e"][:] = 1
    dendrogram(adata, use_rep="X_e", min_cells=1)
    ax = plot(adata, show=False)
    assert len(ax.get_yticklabels()) == 8
    assert all((line.get_xdata() == 0).all() for line in ax.lines)


def test_marks_are_the_terms_at_a_depth(compared):
    ax = plot(compared, view="tree", depth=2, show=False)
    found = compared.uns["uce_dendrogram"]
    names = [name for name in found["categories_ordered"] if name != LONG]
    marks = [line.get_color() for line in ax.lines if line.get_marker() != "None"]
    terms = found["terms"]["2"]
    assert len(marks) == len(names) == 7
    assert len(set(zip(marks, terms[names], strict=True))) == len(set(marks)) == terms.nunique()
    assert [t.get_text() for t in ax.get_legend().get_texts()] == list(dict.fromkeys(terms[names]))
    assert ax.get_legend().get_title().get_text() == "Ontology, depth 2"


def test_the_curve_is_the_agreement(compared):
    ax = plot(compared, view="ari", show=False)
    table = compared.uns["uce_dendrogram"]["table"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), table["ari"])
    assert [t.get_text() for t in ax.get_xticklabels()] == [f"{r.depth}\n({r.n_clusters})" for r in table.itertuples()]


@pytest.mark.parametrize("view", ["tree", "both"])
def test_the_figure_fits_the_page(compared, view):
    check_page(plot(compared, view=view, return_fig=True))


def test_scanpys_trees_are_drawn_too(adata):
    sc.tl.dendrogram(adata, "cell_type", use_rep="X_e")
    assert plot(adata, key="dendrogram_cell_type", show=False).get_xlabel() == "1 - correlation"


def test_both_views_are_drawn_when_there_is_an_ontology(compared):
    assert len(plot(compared, show=False)) == 2
    _, ax = plt.subplots()
    assert plot(compared, ax=ax) is ax
    with pytest.raises(ValueError, match="ax= takes one panel"):
        plot(compared, ax=ax, view="both")
    with pytest.raises(ValueError, match="depth=0 is not in the result; choose from 1, 2"):
        plot(compared, depth=0)


def test_bad_input_is_named(adata):
    dendrogram(adata, use_rep="X_e", min_cells=1)
    with pytest.raises(ValueError, match="view='circle' is not known"):
        plot(adata, view="circle")
    with pytest.raises(ValueError, match="has no comparison with an ontology"):
        plot(adata, view="ari")

"""Bars of attributions: drawn values are those of the table."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pytest

import univerce as uc
from tests.helpers.page import check_page
from tests.helpers.tiny import tiny_cells

LONG = "cells of a type whose name takes several lines of the figure"


@pytest.fixture(scope="module")
def adata(tiny_model):
    cells = tiny_cells(n=20)
    cells.obs["type"] = ["T", LONG] * 10
    return uc.tl.gene_attribution(cells, "T", groupby="type", model=tiny_model, tolerance=100)


def test_bars_are_the_largest_means_and_lines_the_quartiles(adata):
    ax = uc.pl.gene_attribution(adata, n_genes=7, show=False)
    mine = adata[adata.obs["type"] == "T"].X.astype(float)
    mean = mine.mean(axis=0)
    largest = np.argsort(-np.abs(mean))[:7]
    largest = largest[np.argsort(-mean[largest])]
    assert [t.get_text() for t in ax.get_yticklabels()] == adata.var_names[largest].tolist()
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], mean[largest], rtol=1e-5)
    segments = np.array(ax.collections[0].get_segments())[:, :, 0].T
    np.testing.assert_allclose(segments, np.quantile(mine[:, largest], [0.25, 0.75], axis=0), rtol=1e-5)
    assert ax.get_title("left") == "T (10\N{NO-BREAK SPACE}cells)"


def test_groups_are_drawn_side_by_side(adata):
    axes = uc.pl.gene_attribution(adata, groups=["T", LONG], n_genes=3, show=False)
    assert [len(ax.patches) for ax in axes] == [3, 3]
    assert LONG in axes[1].get_title("left").replace("\n", " ")


@pytest.mark.parametrize("groups", [LONG, ["T", LONG]])
def test_the_figure_fits_the_page(adata, groups):
    check_page(uc.pl.gene_attribution(adata, groups=groups, return_fig=True))


def test_a_result_from_a_file_is_drawn_alike(adata, tmp_path):
    adata.write_h5ad(tmp_path / "result.h5ad")
    axes = [uc.pl.gene_attribution(a, show=False) for a in (adata, ad.read_h5ad(tmp_path / "result.h5ad"))]
    first, second = ([bar.get_width() for bar in ax.patches] for ax in axes)
    assert first == second


def test_bad_input_is_an_error(adata):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="no cells of 'B'"):
        uc.pl.gene_attribution(adata, groups="B")
    with pytest.raises(ValueError, match="n_genes=0"):
        uc.pl.gene_attribution(adata, n_genes=0)
    with pytest.raises(ValueError, match="one panel"):
        uc.pl.gene_attribution(adata, groups=["T", LONG], ax=ax)

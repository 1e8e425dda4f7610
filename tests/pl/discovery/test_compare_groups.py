"""Donors and genes of conditions: drawn values are those of the tables."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.helpers.page import check_page

LONG = "idiopathic pulmonary fibrosis of the upper lobe"


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    condition = np.array(["control", "COPD", LONG]).repeat(90)
    mean = np.ones((270, 30))
    mean[condition == LONG, 0] = 30
    out = ad.AnnData(rng.poisson(mean).astype(np.float32))
    out.var_names = [f"A_GENE_OF_A_LONG_NAME_{i}" for i in range(30)]
    names = [f"cell {i}" for i in range(270)]
    out.obs = pd.DataFrame({"condition": condition, "donor": [f"{c} {i % 3}" for i, c in enumerate(condition)]}, names)
    out.obs["found"] = rng.random(270) < 0.7
    uc.tl.compare_groups(out, condition_key="condition", donor_key="donor", control="control")
    return out


def test_points_are_the_shares_of_the_donors(adata):
    ax = uc.pl.compare_groups(adata, view="donors", show=False)
    donors = adata.uns["compare_groups"]["donors"]
    names = ["control", *adata.uns["compare_groups"]["abundance"]["condition"][1:]]
    assert [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()] == [
        f"{name} (3\N{NO-BREAK SPACE}donors)" for name in names
    ]
    for y, (line, name) in enumerate(zip(ax.lines, names, strict=True)):
        np.testing.assert_allclose(line.get_xdata(), np.sort(100 * donors.loc[donors["condition"] == name, "share"]))
        assert (np.abs(line.get_ydata() - y) < 0.5).all()
    p = adata.uns["compare_groups"]["abundance"]["p_value"][1:]
    assert [t.get_text() for t in ax.texts] == [f"p = {value:.2g}" for value in p]


def test_points_are_the_fold_changes_and_filled_if_significant(adata):
    ax = uc.pl.compare_groups(adata, view="genes", n_genes=4, show=False)
    genes = [t.get_text() for t in ax.get_yticklabels()]
    table = adata.uns["compare_groups"]["table"]
    wide = table.pivot(index="gene", columns="group", values="log2_fold_change")[list(dict.fromkeys(table["group"]))]
    lowest = table.groupby("gene")["p_value"].min().sort_values().index[:4]
    assert genes == wide.loc[lowest].mean(axis=1).sort_values(ascending=False).index.tolist()
    significant = table.pivot(index="gene", columns="group", values="p_adjusted") < 0.05
    assert significant.loc["A_GENE_OF_A_LONG_NAME_0", LONG]
    lines = [line for line in ax.lines if line.get_marker() != "None" and line.get_label() not in wide]
    for group, (filled, hollow) in zip(wide.columns, zip(lines[::2], lines[1::2], strict=True), strict=True):
        which = significant.loc[genes, group].to_numpy()
        np.testing.assert_allclose(filled.get_xdata(), wide.loc[genes, group][which])
        np.testing.assert_allclose(hollow.get_xdata(), wide.loc[genes, group][~which])
        assert hollow.get_markerfacecolor() == "white"


def test_chosen_genes_keep_their_order(adata):
    genes = ["A_GENE_OF_A_LONG_NAME_7", "A_GENE_OF_A_LONG_NAME_0"]
    ax = uc.pl.compare_groups(adata, view="genes", genes=genes, show=False)
    assert [t.get_text() for t in ax.get_yticklabels()] == genes
    with pytest.raises(KeyError, match="1 genes were not compared: 'MALAT1'"):
        uc.pl.compare_groups(adata, genes=["MALAT1"])


def test_without_donors_the_largest_changes_are_drawn_hollow(adata):
    uc.tl.compare_groups(adata, condition_key="condition", control="control")
    donors, genes = uc.pl.compare_groups(adata, n_genes=4, show=False)
    assert donors.get_yticklabels()[0].get_text().replace("\n", " ") == "control (90\N{NO-BREAK SPACE}cells)"
    table = adata.uns["compare_groups"]["table"]
    largest = table.set_index("gene")["log2_fold_change"].abs().groupby(level=0).max().nlargest(4)
    assert {t.get_text() for t in genes.get_yticklabels()} == set(largest.index)
    assert "no test" in genes.get_xlabel()
    markers = [line for line in genes.lines if line.get_markerfacecolor() == "white"]
    assert sum(len(line.get_xdata()) for line in markers) == 4 * table["group"].nunique()


@pytest.mark.parametrize("view", ["both", "donors", "genes"])
def test_the_figure_fits_the_page(adata, view):
    check_page(uc.pl.compare_groups(adata, view=view, return_fig=True))


def test_bad_input_is_an_error(adata):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="one panel"):
        uc.pl.compare_groups(adata, ax=ax)
    with pytest.raises(ValueError, match="view='volcano'"):
        uc.pl.compare_groups(adata, view="volcano")
    with pytest.raises(ValueError, match="n_genes=0"):
        uc.pl.compare_groups(adata, n_genes=0)

"""Figures of shares, silhouettes and distances: what is drawn is what the tables hold."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.blobs import blobs

SIZES = {"T": 60, "B": 60, "macrophage": 60}


@pytest.fixture
def adata():
    out = blobs(SIZES)
    out.obs["tissue"] = np.array(["lung", "liver", "gut"])[np.arange(out.n_obs) % 3]
    yield out
    plt.close("all")


@pytest.mark.parametrize("by", ["type", "tissue"])
@pytest.mark.parametrize("k", [None, 3])
def test_bars_of_homogeneity_are_the_shares_of_the_table(adata, by, k):
    scores = uc.tl.tissue_homogeneity(adata, groupby="type", tissue="tissue", use_rep="X_toy", baseline=None)
    ax = uc.pl.tissue_homogeneity(adata, by=by, k=k, show=False)
    table = scores[(scores["k"] == (k or 1)) & scores["by"].isin(["overall", by])]
    assert len(table) == 4
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], 100 * table["share"])
    assert [t.get_text() for t in ax.get_yticklabels()] == table["name"].tolist()
    assert [t.get_text() for t in ax.texts] == [f"{h} / {n}" for h, n in zip(table["hits"], table["n"], strict=True)]
    np.testing.assert_allclose(np.array(ax.collections[0].get_segments())[:, 1, 0], 100 * table["chance_high"])


def test_bars_of_lineages_are_the_shares_of_the_table(adata):
    names = ["overall", "lymphoid", "myeloid"]
    scores = pd.DataFrame(
        {"lineage": names, "n": [3, 2, 1], "hits": [2, 2, 0], "share": [2 / 3, 1, 0], "chance": 0.4, "chance_low": 0.1,
         "chance_high": 0.8}
    )  # fmt: skip
    adata.uns["lineage_colocalisation"] = {"scores": scores, "types": pd.DataFrame()}
    ax = uc.pl.lineage_colocalisation(adata, show=False)
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [200 / 3, 100, 0])
    assert [t.get_text() for t in ax.texts] == ["2 / 3", "2 / 2", "0 / 1"]


def test_points_are_the_silhouettes_the_best_type_first(adata):
    adata.obsm["X_noise"] = np.random.default_rng(0).normal(size=(adata.n_obs, 3))
    table = uc.tl.silhouette_by_type(adata, groupby="type", use_reps=["X_toy", "X_noise"])
    ax = uc.pl.silhouette_by_type(adata, show=False)
    wide = table.pivot(index="type", columns="use_rep", values="silhouette")
    order = [t.get_text() for t in ax.get_yticklabels()]
    assert order == wide.max(axis=1).sort_values(ascending=False).index.tolist()
    for line, name in zip(ax.lines, ["X_toy", "X_noise"], strict=True):
        np.testing.assert_allclose(line.get_xdata(), wide.loc[order, name])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["X_toy: 100 % won", "X_noise: 0 % won"]


def test_distances_are_drawn_as_shares_and_cells_without_one_are_left_out(adata):
    query, reference = adata[:50].copy(), adata[50:].copy()
    query.obsm["X_toy"][0] = np.nan
    uc.tl.ood_score(query, reference, use_rep="X_toy", progress=False)
    ax = uc.pl.ood_score(query, show=False)
    assert [float(np.sum(patch.get_data().values)) for patch in ax.patches] == pytest.approx([100, 100])
    assert "cells (49)" in [t.get_text() for t in ax.get_legend().get_texts()]
    limit = np.quantile(query.uns["ood"]["calibration"], 0.95, method="higher")
    assert ax.lines[0].get_xdata()[0] == limit


@pytest.mark.parametrize("name", ["tissue_homogeneity", "lineage_colocalisation", "silhouette_by_type", "ood_score"])
def test_what_was_not_computed_is_not_drawn(adata, name):
    with pytest.raises(KeyError, match=rf"uc\.tl\.{name}"):
        getattr(uc.pl, name)(adata, show=False)


def test_a_wrong_choice_is_refused(adata):
    uc.tl.tissue_homogeneity(adata, groupby="type", tissue="tissue", use_rep="X_toy", baseline=None)
    with pytest.raises(ValueError, match="k=7 was not scored; there is 1, 3"):
        uc.pl.tissue_homogeneity(adata, k=7)
    with pytest.raises(ValueError, match="by='donor' is not known"):
        uc.pl.tissue_homogeneity(adata, by="donor")

"""The bars of homogeneity: what is drawn is what was scored."""

from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.blobs import blobs
from tests.helpers.page import check_page

LONG = "a macrophage whose name is so long that it has to be broken into several lines"


@pytest.fixture
def adata():
    out = blobs({"T": 60, "B": 60, LONG: 60})
    out.obs["tissue"] = np.array(["lung", "liver", "gut"])[np.arange(out.n_obs) % 3]
    out.obsm["X_noise"] = np.random.default_rng(0).normal(size=(out.n_obs, 3))
    uc.tl.tissue_homogeneity(out, groupby="type", use_rep="X_toy", baseline="X_noise")
    return out


@pytest.mark.parametrize(("by", "k"), [("type", None), ("tissue", 3)])
def test_bars_numbers_and_intervals_are_those_of_the_table(adata, by, k):
    ax = uc.pl.tissue_homogeneity(adata, by=by, k=k, show=False)
    scores = adata.uns["tissue_homogeneity"]["table"]
    table = scores[(scores["k"] == (k or 1)) & scores["by"].isin(["overall", by])]
    assert len(table) == 2 * 4
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], 100 * table["share"])
    names = [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()]
    assert names == table["name"].tolist()[:4] == table["name"].tolist()[4:]
    assert [t.get_text() for t in ax.texts] == [f"{h} / {n}" for h, n in zip(table["hits"], table["n"], strict=True)]
    drawn = np.concatenate([np.array(lines.get_segments())[:, :, 0] for lines in ax.collections])
    np.testing.assert_allclose(drawn, 100 * table[["chance_low", "chance_high"]])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["X_toy", "X_noise", "shuffled types"]


def test_the_figure_fits_the_page(adata):
    check_page(uc.pl.tissue_homogeneity(adata, return_fig=True))


def test_without_shuffles_there_is_no_chance(adata):
    uc.tl.tissue_homogeneity(adata, groupby="type", use_rep="X_toy", baseline=None, n_permutations=0)
    ax = uc.pl.tissue_homogeneity(adata, show=False)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["X_toy"]


def test_what_was_not_scored_is_refused(adata):
    with pytest.raises(ValueError, match="k=7 is not in the result; choose from 1, 3"):
        uc.pl.tissue_homogeneity(adata, k=7)
    with pytest.raises(ValueError, match="by='donor' is not known"):
        uc.pl.tissue_homogeneity(adata, by="donor")

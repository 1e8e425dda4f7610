"""How every figure begins and ends."""

from __future__ import annotations

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text

import univerce as uc
from tests.helpers.page import check_page
from univerce.pl._figure import MM, category_colors, finish, get_axes, new_figure, style, wrap
from univerce.pl._parts import shorten


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    calls: list[bool] = []
    monkeypatch.setattr(plt, "show", lambda: calls.append(True))
    return calls


@pytest.mark.parametrize(
    ("own", "show", "return_fig", "expected", "n_shown"),
    [
        pytest.param(True, None, False, "nothing", 1, id="our_figure_is_shown"),
        pytest.param(False, None, False, "axes", 0, id="the_callers_axes_are_left_to_the_caller"),
        pytest.param(True, False, False, "axes", 0, id="show_false_returns_the_axes"),
        pytest.param(False, True, False, "nothing", 1, id="show_true_shows_the_callers_axes"),
        pytest.param(True, None, True, "figure", 0, id="return_fig_returns_the_figure_unshown"),
    ],
)
def test_a_figure_ends_as_asked(shown, own, show, return_fig, expected, n_shown):
    figure, axes = new_figure(2, 1)
    result = finish(figure, axes, own=own, title=None, show=show, return_fig=return_fig)
    assert result is {"nothing": None, "axes": axes, "figure": figure}[expected]
    assert len(shown) == n_shown


def test_given_axes_are_used_and_a_missing_one_is_made():
    figure, axes = plt.subplots()
    assert get_axes(axes, 3, 2) == (figure, axes)
    made, _ = get_axes(None, 3, 2)
    assert made is not figure
    np.testing.assert_allclose(made.get_size_inches(), (3, 2))


def test_the_style_ends_with_its_block():
    before = mpl.rcParams["font.size"]
    with style():
        assert mpl.rcParams["font.size"] == 7
    assert mpl.rcParams["font.size"] == before


@pytest.mark.filterwarnings("ignore:The set_:PendingDeprecationWarning")  # of scanpy
def test_categories_have_the_colors_of_scanpy_of_uns_or_of_the_palette(adata_of_types):
    import scanpy as sc

    for n in (5, 15, 25, 60):
        adata = adata_of_types(n)
        uc.pl.embedding_grid(adata, ["X_flat"], ["type"], show=False)
        shown = [handle.get_color() for handle in plt.gcf().axes[-1].get_legend().legend_handles]
        sc.pl.embedding(adata, "X_flat", color="type", show=False)
        assert shown == list(adata.uns["type_colors"])
    colors = category_colors(["b", "a"], {"a": "red", "b": "#0000ff"})
    assert colors == {"b": "#0000ff", "a": "#ff0000"}
    assert category_colors(["a", "b", "c"], "viridis")["c"] == mpl.colors.to_hex(mpl.colormaps["viridis"](1.0))
    assert category_colors(["a", "b", "c"], ["red", "blue"])["c"] == "#ff0000"
    adata.uns["type_colors"] = ["#010203"] * 60
    uc.pl.embedding_grid(adata, ["X_flat"], ["type"], show=False)
    assert plt.gcf().axes[-1].get_legend().legend_handles[0].get_color() == "#010203"
    with pytest.raises(ValueError, match="palette has no color for 'b'; its names are 'a'"):
        category_colors(["a", "b"], {"a": "red"})
    with pytest.raises(ValueError, match="palette='no' is not a color map"):
        category_colors(["a"], "no")


@pytest.fixture
def adata_of_types():
    def make(n: int) -> ad.AnnData:
        rng = np.random.default_rng(0)
        names = [f"CD8-positive, alpha-beta memory T cell, CD45RO-positive, {i:02}" for i in range(n)]
        obs = pd.DataFrame({"type": pd.Categorical(np.array(names)[np.arange(4 * n) % n])}, map(str, range(4 * n)))
        return ad.AnnData(obs=obs, obsm={"X_flat": rng.normal(size=(4 * n, 2)), "X_e": rng.normal(size=(4 * n, 4))})

    return make


@pytest.mark.parametrize("n", [5, 25, 50])
def test_many_long_names_fit_a_page(adata_of_types, n):
    adata = adata_of_types(n)
    reference = adata[:, :].copy()
    uc.tl.centroid_alignment(
        adata, reference, groupby="type", use_rep="X_e", baseline=None, min_cells=1, check_space=False, n_permutations=9
    )
    uc.tl.silhouette_by_type(adata, groupby="type", use_reps=["X_e", "X_flat"])
    uc.tl.dendrogram(adata, "type", use_rep="X_e", min_cells=1)
    figures = (
        uc.pl.embedding_grid(adata, ["X_flat", "X_flat"], ["type"], return_fig=True),
        uc.pl.centroid_alignment(adata, view="types", return_fig=True),
        uc.pl.silhouette_by_type(adata, return_fig=True),
        uc.pl.dendrogram(adata, return_fig=True),
    )
    for figure in figures:
        check_page(figure)
        assert figure.get_figheight() < 250 * MM
        assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 5


@pytest.mark.parametrize(("n", "columns"), [(100, ["type"]), (50, ["type", "other", "score"]), (1000, ["type"])])
def test_a_grid_with_too_many_names_fits_a_page_and_counts_those_left_out(adata_of_types, n, columns):
    adata = adata_of_types(n)
    adata.obs["other"], adata.obs["score"] = adata.obs["type"], 1.0
    figure = uc.pl.embedding_grid(adata, ["X_flat"], columns, return_fig=True)
    check_page(figure)
    assert figure.get_figheight() < 250 * MM
    names = [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().get_texts()]
    last = names[-1].split()
    more = int(last[1]) if last[0] == "and" else None
    assert (more is not None) == (n == 1000)
    n_legends = len(columns) - ("score" in columns)
    assert len(names) + (more - 1 if more else 0) == n * n_legends


def test_long_names_of_methods_and_pairs_fit_a_page():
    method = "Universal Cell Embedding with 33 layers, fine-tuned on all donors of the atlas"
    counts = pd.DataFrame({"method": method, "seed": 0, "truth": ["B", "T"], "predicted": ["B", "B"], "n_cells": 5})
    adata = ad.AnnData(uns={"benchmark": {"confusion": counts}})
    check_page(uc.pl.benchmark_confusion(adata, method, return_fig=True))
    pairs = [f"left ventricular free wall of the heart to proximal small intestine of donor {i}" for i in range(30)]
    scores = pd.DataFrame({"pair": pairs, "method": method, "metric": "logistic accuracy", "group": "all"})
    for n in (5, 30):
        check_page(uc.pl.transfer_table(scores.assign(seed=0, value=0.5)[:n], return_fig=True))


def test_a_long_text_is_shortened_in_its_middle():
    assert [shorten("CD8-positive T cell", n) for n in (19, 12, 5)] == ["CD8-positive T cell", "CD8-po… cell", "CD…ll"]


def test_a_title_stands_above_the_figure_or_above_the_axes_of_the_caller(adata_of_types):
    adata = adata_of_types(5)
    uc.tl.silhouette_by_type(adata, groupby="type", use_reps=["X_e"])
    assert uc.pl.silhouette_by_type(adata, title="mine", return_fig=True).get_suptitle() == "mine"
    _, ax = plt.subplots()
    uc.pl.silhouette_by_type(adata, title="mine", ax=ax)
    assert ax.get_title("left") == "mine" or ax.get_title() == "mine"


def test_numbers_have_a_color_bar_and_missing_labels_are_gray(adata_of_types):
    adata = adata_of_types(5)
    adata.obs["score"] = np.arange(20.0)
    adata.obs.loc["3", "type"] = np.nan
    axes = uc.pl.embedding_grid(adata, ["X_flat"], ["score", "type"], cmap="magma", show=False)
    drawn = axes[0, 0].collections[0]
    assert drawn.get_cmap().name == "magma"
    assert sorted(drawn.get_array()) == list(range(20))
    assert plt.gcf().axes[-1].get_legend().get_texts()[-1].get_text() == "NA"
    adata.obs["score"] = [np.nan, np.inf, *range(18)]
    (drawn,) = uc.pl.embedding_grid(adata, ["X_flat"], ["score"], show=False)[0, 0].collections
    assert len(drawn.get_offsets()) == 20
    drawn.update_scalarmappable()
    gray = (drawn.get_facecolors() == to_rgba("lightgray")).all(axis=1)
    assert (drawn.get_clim(), gray.sum()) == ((0, 17), 2)


def test_wrapping_loses_no_word():
    label = "CD4-positive, CD25-positive, alpha-beta regulatory T cell"
    (wrapped,) = wrap([label], 20)
    assert max(map(len, wrapped.split("\n"))) <= 20
    assert wrapped.replace("-\n", "-").replace("\n", " ") == label
    assert wrap([""]) == [""]

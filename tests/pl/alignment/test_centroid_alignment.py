"""The figure of an alignment says what the table says, and fits."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.helpers.page import check_page
from tests.helpers.toy import toy_counts
from univerce.pl.alignment.centroid_alignment import centroid_alignment as plot
from univerce.tl.alignment.centroid_alignment import centroid_alignment

REP = {"use_rep": "X_e", "check_space": False, "min_cells": 1}
LONG = "CD4-positive, CD25-positive, alpha-beta regulatory T cell of the second kind"


def data(seed: int, types: list[str]) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    codes = np.arange(120) % len(types)
    adata = ad.AnnData(toy_counts(120, 20, seed=seed))
    adata.obs["cell_type"] = pd.Categorical(np.array(types)[codes])
    adata.obs["tissue"] = pd.Categorical(np.array(["gut", "lung"])[np.arange(120) // 60])
    centers = {name: np.random.default_rng(sum(map(ord, name))).normal(size=4) for name in types}
    adata.obsm["X_e"] = np.stack([centers[types[c]] for c in codes]) + 2 * rng.normal(size=(120, 4))
    return adata


@pytest.fixture
def query() -> ad.AnnData:
    return data(0, ["B cell", "T cell", "macrophage", "fibroblast", LONG, "here alone"])


@pytest.fixture
def reference() -> ad.AnnData:
    return data(1, ["T cell", "B cell", "fibroblast", "macrophage", LONG, "there alone", "there too"])


def marks(ax: plt.Axes, marker: str) -> set[tuple[str, str]]:
    """(row, column) of every mark of a kind."""
    rows, columns = (
        [t.get_text().replace("\n", " ") for t in ticks()] for ticks in (ax.get_yticklabels, ax.get_xticklabels)
    )
    drawn = [line for line in ax.lines if line.get_marker() == marker]
    return {(rows[int(line.get_ydata()[0])], columns[int(line.get_xdata()[0])]) for line in drawn}


def test_marks_say_where_each_type_lands(query, reference):
    centroid_alignment(query, reference, **REP)
    types = query.uns["centroid_alignment"]["types"].query("representation == 'X_e'")
    ax = plot(query, view="types", show=False)
    landed = set(types[["type", "nearest_reference"]].itertuples(index=False, name=None))
    assert marks(ax, "o") == {(a, b) for a, b in landed if a == b}
    assert marks(ax, "x") == {(a, b) for a, b in landed if a not in (b, "here alone")}
    assert {row for row, _ in marks(ax, "+")} == {"here alone"}
    assert marks(ax, "s") == {(name, name) for name in types["type"] if name != "here alone"}
    assert 0 < len(marks(ax, "o")) < 5


def test_types_that_lie_on_each_other_can_be_drawn(query):
    centroid_alignment(query, query.copy(), **REP)
    ax = plot(query, view="types", show=False)
    assert marks(ax, "o") == marks(ax, "s")
    order = [label.get_text() for label in ax.get_yticklabels()]
    assert order == [label.get_text() for label in ax.get_xticklabels()]
    turned = query[::-1].copy()
    centroid_alignment(turned, query.copy(), **REP)
    assert [label.get_text() for label in plot(turned, view="types", show=False).get_yticklabels()] == order


def test_colors_are_the_distances(query, reference):
    centroid_alignment(query, reference, **REP)
    pairs = query.uns["centroid_alignment"]["pairs"].query("representation == 'lognorm'")
    ax = plot(query, view="types", representation="lognorm", show=False)
    rows, columns = (
        [t.get_text().replace("\n", " ") for t in ticks()] for ticks in (ax.get_yticklabels, ax.get_xticklabels)
    )
    expected = pairs.pivot_table("distance", "query", "reference").loc[rows, columns]
    np.testing.assert_allclose(ax.images[0].get_array(), expected)
    assert rows[:5] == columns[:5]
    assert (rows[5:], columns[5:]) == (["here alone"], ["there alone", "there too"])


@pytest.mark.parametrize("tissue", [None, "tissue"], ids=["all_cells", "by_tissue"])
def test_bars_are_the_scores(query, reference, tissue):
    scores = centroid_alignment(query, reference, **REP, tissue_key=tissue)
    ax = plot(query, view="scores", score="cross", k=3, show=False)
    table = scores[scores["score"] != "mixing"]
    names = [f"top {k} {among}" for among in ("of both data sets", "of the reference") for k in (1, 3)]
    if tissue:
        table, names = table.query("score == 'cross' and k == 3"), ["overall", "gut", "lung"]
    assert [t.get_text() for t in ax.get_yticklabels()] == names
    assert [bar.get_width() for bar in ax.patches] == pytest.approx((100 * table["share"]).tolist())
    assert [t.get_text() for t in ax.texts] == [f"{row.hits} / {row.n}" for row in table.itertuples()]


@pytest.mark.parametrize(
    ("view", "tissue"), [("both", None), ("both", "tissue"), ("types", "tissue"), ("scores", None)]
)
def test_the_figure_fits_the_page(query, reference, view, tissue):
    centroid_alignment(query, reference, **REP, tissue_key=tissue, n_permutations=9)
    check_page(plot(query, view=view, return_fig=True))


def test_labels_under_the_heat_map_do_not_squeeze_the_scores():
    types = [f"{letter} cell with quite a long name" for letter in "ABCDEFGHIJ"]
    query = data(0, types)
    centroid_alignment(query, data(1, types), n_permutations=9, **REP)
    heights = []
    for view in ("both", "scores"):
        figure = plot(query, view=view, return_fig=True)
        check_page(figure)
        ax = next(ax for ax in figure.axes if ax.get_xlabel().startswith("Types with"))
        heights.append(ax.get_window_extent().height)
    assert heights[0] > 0.95 * heights[1]


def test_one_tissue_and_a_tissue_without_shared_types_are_drawn(query, reference):
    query.obs["tissue"] = query.obs["tissue"].cat.rename_categories({"lung": "skin"})
    centroid_alignment(query, reference, tissue_key="tissue", n_permutations=9, **REP)
    plot(query, view="types", tissue_name="gut", show=False)
    assert "0 / 0" in {text.get_text() for text in plot(query, view="scores", show=False).texts}


def test_given_axes_take_one_view(query, reference):
    centroid_alignment(query, reference, **REP, baseline=None, n_permutations=0)
    _, ax = plt.subplots()
    assert plot(query, view="scores", ax=ax) is ax
    with pytest.raises(ValueError, match="ax= takes one view"):
        plot(query, ax=ax)
    assert len(plot(query, show=False)) == 2


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"view": "all"}, "view='all' is not in the result; choose from 'both'"),
        ({"representation": "X_pca"}, "representation='X_pca' .* 'X_e', 'lognorm'"),
        ({"tissue_name": "gut"}, "tissue_name='gut' .* 'overall'"),
        ({"score": "mixing"}, "score='mixing' .* 'either', 'cross'"),
        ({"k": 2}, "k=2 .* 1, 3"),
    ],
)
def test_invalid_choices_are_named(query, reference, choice, message):
    centroid_alignment(query, reference, **REP)
    with pytest.raises(ValueError, match=message):
        plot(query, show=False, **choice)


def test_results_from_a_file_are_drawn_alike(query, reference, tmp_path):
    centroid_alignment(query, reference, **REP)
    query.write_h5ad(tmp_path / "a.h5ad")
    read = plot(ad.read_h5ad(tmp_path / "a.h5ad"), view="types", show=False)
    np.testing.assert_array_equal(
        read.images[0].get_array(), plot(query, view="types", show=False).images[0].get_array()
    )

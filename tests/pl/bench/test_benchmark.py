"""The figures of the benchmark: what is drawn is what the tables hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.helpers.bench_cells import BROKEN, NOISE, counted_cells
from univerce.pl.bench._benchmark import ranked


@pytest.fixture(scope="module")
def adata():
    out = counted_cells()
    names = ["natural killer cell of the peripheral blood", "B", "T"]
    out.obs["type"] = out.obs["type"].cat.rename_categories(names)
    uc.bench.run(
        out, groupby="type", batch_key="batch", methods=["X_clear", "PCA", NOISE, BROKEN, "cell types", "random"],
        seeds=[0, 1],
        scib=False, n_bootstrap=0,
    )  # fmt: skip
    return out


def texts(ax) -> list[str]:
    return [t.get_text() for t in ax.texts]


def test_the_table_has_a_row_for_every_method_and_the_means_over_the_seeds(adata):
    ax = uc.pl.benchmark_table(adata, show=False)
    scores = adata.uns["benchmark"]["table"]
    mean = scores.query("method == 'noise' and metric == 'kNN accuracy'")["value"].mean()
    shown = texts(ax)
    assert f"{mean:.2f}".replace("0.", ".") in shown
    assert {"X_clear", "PCA", "noise", "broken", "cell types *", "random", "failed"} <= set(shown)
    order = [t for t in shown if t in ("X_clear", "PCA", "noise", "broken", "cell types *", "random")]
    assert order.index("noise") < order.index("broken") < order.index("cell types *") < order.index("random")


def test_methods_are_ranked_controls_last_and_failed_ones_below_the_others():
    values = pd.Series({"a": 0.2, "b": 0.9, "c": 1.0, "d": np.nan})
    assert ranked(values, {"c": True}) == ["b", "a", "d", "c"]


def test_no_text_of_the_table_leaves_the_page(adata):
    figure = uc.pl.benchmark_table(adata, return_fig=True)
    figure.canvas.draw()
    page = figure.bbox
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert box.x0 >= page.x0 - 1
        assert box.x1 <= page.x1 + 1


def test_silhouettes_are_drawn_where_they_are_and_peers_alone_take_part(adata):
    ax = uc.pl.benchmark_silhouettes(adata, show=False)
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert {label.split(": wins")[0] for label in labels} == {"X_clear", "PCA", "noise"}
    drawn = {line.get_label().split(": wins")[0]: line.get_xdata() for line in ax.lines}
    scores = adata.uns["benchmark"]["table"].query("method == 'PCA' and metric == 'silhouette' and group != 'all'")
    np.testing.assert_allclose(sorted(drawn["PCA"]), sorted(scores["value"]))


def test_a_row_of_the_confusion_sums_to_one(adata):
    ax = uc.pl.benchmark_confusion(adata, "noise", show=False)
    (image,) = ax.images
    np.testing.assert_allclose(image.get_array().sum(axis=1), 1)
    table = adata.uns["benchmark"]["confusion"].query("method == 'noise'")
    right = table.loc[table["truth"] == table["predicted"], "n_cells"].sum() / table["n_cells"].sum()
    assert ax.get_title("left") == f"noise: {right:.0%} correct"
    with pytest.raises(ValueError, match="'broken' has no labels"):
        uc.pl.benchmark_confusion(adata, "broken", show=False)


def test_the_grid_draws_every_cell_in_every_panel(adata):
    adata.obsm["flat"] = adata.obsm["X_clear"][:, :2]
    axes = uc.pl.embedding_grid(adata, {"a": "flat", "b": "flat"}, ["type", "batch"], show=False)
    assert axes.shape == (2, 2)
    for ax in axes.ravel():
        points = np.concatenate([c.get_offsets() for c in ax.collections])
        np.testing.assert_allclose(np.sort(points, axis=0), np.sort(adata.obsm["flat"], axis=0), rtol=1e-6)
    with pytest.raises(ValueError, match="has 3 columns; two are needed"):
        uc.pl.embedding_grid(adata, ["X_clear"], ["type"], show=False)
    with pytest.raises(KeyError, match="its columns are"):
        uc.pl.embedding_grid(adata, ["flat"], ["no"], show=False)


def test_what_was_published_stands_apart_and_says_so():
    row = {"method": "m", "seed": 0, "metric": "centroid top 1", "group": "all", "value": 0.5}
    scores = pd.DataFrame([row | {"pair": "p"}, row | {"pair": "p", "seed": 1, "value": 0.7}])
    known = uc.bench.published()
    known = known[known["metric"].str.startswith("centroid")]
    ax = uc.pl.transfer_table(scores, metric="centroid top 1", published=known, show=False)
    shown = texts(ax)
    assert shown[0] == "0.60"
    assert "Published, not measured; other data" in shown
    assert "UCE: centroid top 1: 13 of 17 types" in shown
    assert "Published, not measured; other data" not in texts(
        uc.pl.transfer_table(scores, metric="centroid top 1", show=False)
    )
    with pytest.raises(ValueError, match="metric='kNN' is not among the scores"):
        uc.pl.transfer_table(scores, metric="kNN", show=False)
    one = scores.drop(columns="pair")
    assert texts(uc.pl.transfer_table(one, metric="centroid top 1", show=False))[0] == "0.60"
    with pytest.raises(ValueError, match="scores are of several pairs"):
        uc.pl.transfer_table(pd.concat([one, one]), metric="centroid top 1", show=False)

"""The reliability diagram and the risk-coverage curve: what is drawn is what was computed."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import binomtest

from tests.helpers.blobs import blobs
from univerce.pl.labels.label_transfer import label_transfer
from univerce.tl.labels.transfer_labels import transfer_labels

SIZES = {"T": 60, "B": 50, "NK": 40}


@pytest.fixture(params=[{"threshold": {"accuracy": 0.9}}, {}], ids=["with a threshold", "without a threshold"])
def adata(request):
    query = blobs(SIZES, seed=1)
    transfer_labels(query, blobs(SIZES), groupby="type", use_rep="X_toy", key_added="t", **request.param)
    return query


def test_both_views_draw_what_was_computed(adata):
    left, right = label_transfer(adata, "t", show=False)
    found = adata.uns["t"]
    table = found["reliability"]
    full = table[table["n_cells"] > 0]
    (points,) = (line for line in left.lines if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_xydata(), full[["confidence", "accuracy"]])
    (interval,) = left.collections
    low, high = interval.get_segments()[-1][:, 1]
    last = full.iloc[-1]
    expected = binomtest(round(last["accuracy"] * last["n_cells"]), int(last["n_cells"])).proportion_ci(method="wilson")
    np.testing.assert_allclose([low, high], [expected.low, expected.high], atol=1e-6)
    heights = [bar.get_height() for bar in left.patches]
    np.testing.assert_allclose(heights, table["n_cells"] / table["n_cells"].sum())
    assert f"{found['scores']['ece_after']:.3f}" in left.get_title("left")
    np.testing.assert_allclose(right.lines[0].get_xydata(), found["risk_coverage"][["coverage", "accuracy"]])
    marks = [line for line in right.lines if line.get_marker() == "D"]
    texts = [text.get_text() for text in right.get_legend().get_texts()]
    if np.isfinite(found["params"]["threshold"]):
        scores = found["scores"]
        np.testing.assert_allclose(
            marks[0].get_xydata(), [[scores["coverage_at_threshold"], scores["accuracy_at_threshold"]]]
        )
        kept = (adata.obs["t"] != "unknown").mean()
        assert right.lines[-1].get_xdata()[0] == pytest.approx(kept)
        assert f"these cells: {kept:.0%} labeled" in texts
    else:
        assert marks == []
        assert len(texts) == 1


def test_no_text_lies_on_the_curves_or_outside_the_page(adata):
    figure = label_transfer(adata, "t", return_fig=True)
    figure.canvas.draw()
    page = figure.bbox
    for ax in figure.axes:
        inner = ax.get_window_extent()
        legend = ax.get_legend().get_window_extent()
        assert legend.y1 < inner.y0
        assert not legend.overlaps(ax.xaxis.label.get_window_extent())
        for box in (legend, ax.title.get_window_extent(), ax._left_title.get_window_extent()):
            assert box.x0 >= page.x0 - 1
            assert box.x1 <= page.x1 + 1
            assert box.y0 >= page.y0 - 1
    left, right = (ax._left_title.get_window_extent() for ax in figure.axes)
    assert left.x1 < right.x0


@pytest.mark.parametrize("view", ["reliability", "risk_coverage"])
def test_one_view_goes_into_the_axes_of_the_caller(adata, view):
    _, ax = plt.subplots()
    assert label_transfer(adata, "t", view=view, ax=ax) is ax
    assert ax.lines


def test_figures_are_shown_or_returned_and_styles_do_not_stay(adata, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    before = dict(mpl.rcParams)
    assert label_transfer(adata, "t") is None
    assert shown == [True]
    assert label_transfer(adata, "t", return_fig=True).get_size_inches()[0] == pytest.approx(180 / 25.4)
    assert label_transfer(adata, "t", view="reliability", return_fig=True, figsize=(3, 2)).get_size_inches()[0] == 3
    assert dict(mpl.rcParams) == before


def test_a_file_holds_enough_to_draw(adata, tmp_path):
    import anndata as ad

    adata.write_h5ad(tmp_path / "a.h5ad")
    left, _ = label_transfer(ad.read_h5ad(tmp_path / "a.h5ad"), "t", show=False)
    again, _ = label_transfer(adata, "t", show=False)
    assert left.get_title("left") == again.get_title("left")


def test_what_cannot_be_drawn_says_why(adata):
    with pytest.raises(ValueError, match="view='roc' is not known; use one of both, reliability"):
        label_transfer(adata, "t", view="roc")
    with pytest.raises(ValueError, match="ax= takes one view"):
        label_transfer(adata, "t", ax=plt.subplots()[1])

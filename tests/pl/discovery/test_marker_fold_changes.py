"""The heat map of fold changes: what is drawn is what was computed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import univerce as uc
from univerce.pl.discovery.marker_fold_changes import marker_fold_changes as draw
from univerce.tl.discovery.marker_fold_changes import marker_fold_changes


@pytest.fixture
def adata():
    out = uc.datasets.pbmc68k_reduced()
    out.obs["found"] = out.obs["cell_type"] == "CD19+ B"
    names = np.array(["a data set with a name that is rather long, of blood", "b", "rare"])
    out.obs["data_set"] = names[np.arange(700) % 3]
    rare = (out.obs["data_set"] == "rare") & out.obs["found"]
    out.obs.loc[rare, "data_set"] = "b"
    marker_fold_changes(out, n_genes=12)
    return out


def test_colors_and_dots_are_those_of_the_tables(adata):
    ax = draw(adata, limit=2, show=False)
    result = adata.uns["marker_fold_changes"]
    image = ax.images[0]
    np.testing.assert_allclose(image.get_array().filled(np.nan), result["log2_fold_change"])
    assert image.get_clim() == (-2, 2)
    dots = {tuple(xy) for xy in ax.collections[0].get_offsets()}
    row, column = np.nonzero(result["p_adjusted"].to_numpy() < 0.05)
    assert dots == set(zip(column.astype(float), row.astype(float), strict=True))
    assert [t.get_text() for t in ax.get_xticklabels()] == result["log2_fold_change"].columns.tolist()
    assert [t.get_text() for t in ax.texts] == ["0 found cells, too few"]
    n = result["data_sets"]["n_found"]
    assert [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()] == [f"{k} ({v})" for k, v in n.items()]


def test_nothing_leaves_the_page(adata):
    figure = draw(adata, return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    boxes = [label.get_window_extent() for label in (*ax.get_yticklabels(), *ax.get_xticklabels())]
    for box in boxes:
        assert figure.bbox.x0 - 1 <= box.x0
        assert box.x1 <= figure.bbox.x1 + 1
        assert figure.bbox.y0 - 1 <= box.y0


def test_one_data_set_without_any_change_is_drawn(adata):
    result = adata.uns["marker_fold_changes"]
    for name in ("log2_fold_change", "p_adjusted"):
        result[name] = pd.DataFrame(0.0, index=["b"], columns=["CD79A"])
    result["data_sets"] = result["data_sets"].loc[["b"]]
    assert draw(adata, show=False).images[0].get_clim() == (-1, 1)


def test_bad_input_is_refused(adata):
    with pytest.raises(ValueError, match="limit=0"):
        draw(adata, limit=0)
    with pytest.raises(KeyError, match=r"uc\.tl\.marker_fold_changes"):
        draw(adata, "lost")

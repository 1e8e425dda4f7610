"""The bars of abundances: drawn values are those of the table."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.helpers.blobs import blobs
from tests.helpers.page import check_page
from univerce.pl.discovery.find_cells import find_cells as draw
from univerce.tl.discovery.find_cells import find_cells

LONG = "a tissue whose name is so long that it has to be broken into several lines"


@pytest.fixture
def adata():
    out = blobs({"norn": 30, "T": 120, "B": 90}, seed=1)
    out.obs["tissue"] = [LONG, *(["kidney", "liver"] * out.n_obs)][: out.n_obs]
    find_cells(
        out, blobs({"norn": 30, "T": 120, "B": 90}), groupby="type", groups="norn", use_rep="X_toy",
        abundance_by=["type", "tissue"],
    )  # fmt: skip
    return out


def test_bars_intervals_and_names_are_those_of_the_table(adata):
    ax = draw(adata, by="tissue", show=False)
    table = adata.uns["found"]["table"].query("by == 'tissue'")
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], 100 * table["share"])
    segments = np.array(ax.collections[0].get_segments())
    np.testing.assert_allclose(segments[:, :, 0], 100 * table[["low", "high"]])
    assert [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()] == table["group"].tolist()
    texts = [t.get_text() for t in ax.texts]
    assert texts == [f"{f} / {n}" for f, n in table[["n_found", "n_cells"]].itertuples(index=False)]


def test_all_columns_side_by_side_and_no_more_rows_than_asked_for(adata):
    axes = draw(adata, n_top=2, show=False)
    assert [len(ax.patches) for ax in axes] == [2, 2]
    assert "first 2 of 3" in axes[0].get_title("left")


def test_the_figure_fits_the_page(adata):
    check_page(draw(adata, return_fig=True))


def test_an_empty_group_is_drawn(adata):
    table = adata.uns["found"]["table"]
    table.loc[table["by"] == "tissue", ["share", "low", "high"]] = np.nan
    table.loc[table["by"] == "tissue", "n_cells"] = 0
    assert draw(adata, by="tissue", show=False).texts[0].get_text() == "no embedding"


def test_bad_input_is_an_error(adata):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="one panel"):
        draw(adata, ax=ax)
    with pytest.raises(ValueError, match="by='organ'"):
        draw(adata, by="organ")
    with pytest.raises(ValueError, match="n_top=0"):
        draw(adata, n_top=0)
    adata.uns["found"]["table"] = adata.uns["found"]["table"].iloc[:1]
    with pytest.raises(ValueError, match="abundance_by="):
        draw(adata)

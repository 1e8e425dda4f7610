"""Dots of deletions: drawn values are those of the table."""

from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.page import check_page
from tests.helpers.tiny import tiny_cells

LONG = "cells of a type whose name takes several lines of the figure"


@pytest.fixture
def adata(tiny_model):
    out = tiny_cells(n=24, empty=(0,))
    out.obs["type"] = ["nothing", *["T", "B", LONG] * 8][:24]
    genes = out.var_names[[3, 5, 8, 9]].tolist()
    uc.tl.delete_genes(
        out, {"a set of genes": genes[2:], genes[0]: genes[0], genes[1]: genes[1]}, groupby="type", toward="T",
        model=tiny_model,
    )  # fmt: skip
    return out


@pytest.mark.parametrize("value", [None, "cosine_shift_expressing"])
def test_place_size_and_color_of_a_dot_are_those_of_the_table(adata, value):
    ax = uc.pl.delete_genes(adata, value=value, show=False)
    columns, rows = (
        [t.get_text().replace("\n", " ") for t in ts] for ts in (ax.get_xticklabels(), ax.get_yticklabels())
    )
    means = adata.uns["deleted"]["table"]
    assert columns == list(dict.fromkeys(means["deletion"]))
    assert rows == list(dict.fromkeys(means["group"]))
    dots = ax.collections[0]
    drawn = {
        (columns[int(x)], rows[int(y)]): (size, color)
        for (x, y), size, color in zip(dots.get_offsets(), dots.get_sizes(), dots.get_array(), strict=True)
    }
    table = means[(means["n_cells"] > 0)].dropna(subset=[value or "toward"])
    assert set(drawn) == set(zip(table["deletion"], table["group"], strict=True))
    full = max(size for size, _ in drawn.values()) / (table["n_expressing"] / table["n_cells"]).max()
    for _, row in table.iterrows():
        size, color = drawn[row["deletion"], row["group"]]
        assert color == pytest.approx(row[value or "toward"])
        assert size == pytest.approx(full * row["n_expressing"] / row["n_cells"])
    low, high = dots.get_clim()
    assert low == (-high if value is None else 0)
    assert high == pytest.approx(np.abs(table[value or "toward"]).max())


def test_the_figure_fits_the_page(adata):
    check_page(uc.pl.delete_genes(adata, return_fig=True))


def test_bad_input_is_an_error(adata):
    with pytest.raises(ValueError, match=r"value='shift' is not in the table; choose from 'cosine_shift_exp"):
        uc.pl.delete_genes(adata, value="shift")
    del adata.uns["deleted"]["table"]["toward"]
    with pytest.raises(ValueError, match="value='toward'"):
        uc.pl.delete_genes(adata, value="toward")

"""Distances of cells as histograms: drawn values are the scores."""

from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.blobs import blobs
from tests.helpers.page import check_page


@pytest.fixture
def adata():
    cells = blobs({"T": 60, "B": 60})
    query, reference = cells[:50].copy(), cells[50:].copy()
    query.obsm["X_toy"][0] = np.nan
    uc.tl.ood_score(query, reference, use_rep="X_toy")
    return query


def texts(ax):
    return [t.get_text() for t in ax.get_legend().get_texts()]


def test_distances_are_drawn_as_shares_and_cells_without_one_are_left_out(adata):
    ax = uc.pl.ood_score(adata, show=False)
    assert [float(np.sum(patch.get_data().values)) for patch in ax.patches] == pytest.approx([100, 100])
    assert texts(ax) == ["reference (70)", "cells (49)", "95 % of the reference"]
    assert (adata.uns["ood"]["calibration"] <= ax.lines[0].get_xdata()[0]).mean() == pytest.approx(0.95, abs=1 / 70)
    check_page(ax.figure)


def test_missing_scores_are_an_error(adata):
    del adata.obs["ood_score"]
    with pytest.raises(KeyError, match="ood_score"):
        uc.pl.ood_score(adata)

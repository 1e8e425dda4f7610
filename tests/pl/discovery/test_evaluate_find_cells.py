"""The points of hidden types: drawn values are those of the table."""

from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.blobs import blobs
from tests.helpers.page import check_page


@pytest.fixture
def adata():
    out = blobs({"T": 40, "B": 60, "a type whose name takes two lines of the figure": 40})
    out.obsm["X_noise"] = np.random.default_rng(0).normal(size=(out.n_obs, 3))
    uc.tl.evaluate_find_cells(out, "type", use_reps=["X_toy", "X_noise"])
    return out


def test_points_are_average_precisions_and_ticks_are_shares(adata):
    ax = uc.pl.evaluate_find_cells(adata, show=False)
    scores = adata.uns["evaluate_find_cells"]["table"]
    table = scores.pivot(index="type", columns="use_rep", values="average_precision")
    order = [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()]
    toy, noise, random = (line.get_xdata() for line in ax.lines)
    np.testing.assert_allclose(toy, table.loc[order, "X_toy"])
    np.testing.assert_allclose(noise, table.loc[order, "X_noise"])
    assert (np.diff(np.maximum(toy, noise)) <= 0).all()
    np.testing.assert_allclose(random, scores.drop_duplicates("type").set_index("type").loc[order, "prevalence"])
    assert ax.get_legend().get_texts()[1].get_text() == f"X_noise: {table['X_noise'].mean():.2f}"


def test_the_figure_fits_the_page(adata):
    check_page(uc.pl.evaluate_find_cells(adata, return_fig=True))

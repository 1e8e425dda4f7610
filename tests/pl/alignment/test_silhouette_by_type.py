"""The points of silhouettes: what is drawn is what was computed."""

from __future__ import annotations

import numpy as np
import pytest

import univerce as uc
from tests.helpers.blobs import blobs
from tests.helpers.page import check_page

LONG = "a type whose name is so long that it has to be broken into several lines"


@pytest.fixture
def adata():
    out = blobs({"T": 40, "B": 40, LONG: 40, "alone": 1})
    out.obsm["X_noise_of_an_embedding_with_a_long_key"] = np.random.default_rng(0).normal(size=(out.n_obs, 3))
    uc.tl.silhouette_by_type(out, groupby="type", use_reps=["X_toy", "X_noise_of_an_embedding_with_a_long_key"])
    return out


def test_points_are_the_silhouettes_the_best_type_first(adata):
    ax = uc.pl.silhouette_by_type(adata, show=False)
    table = adata.uns["silhouette_by_type"]["table"].pivot(index="type", columns="use_rep", values="silhouette")
    order = [t.get_text().replace("\n", " ") for t in ax.get_yticklabels()]
    assert order == table.max(axis=1).sort_values(ascending=False).index.drop("alone").tolist()
    points = [line for line in ax.lines if line.get_marker() != "None"]
    for line, name in zip(points, ["X_toy", "X_noise_of_an_embedding_with_a_long_key"], strict=True):
        np.testing.assert_allclose(line.get_xdata(), table.loc[order, name])
        np.testing.assert_array_equal(np.round(line.get_ydata()), [0, 1, 2])
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts == ["X_toy: wins 100 %", "X_noise_of_an_embedding_with_a_long_key: wins 0 %"]


def test_the_figure_fits_the_page(adata):
    check_page(uc.pl.silhouette_by_type(adata, return_fig=True))

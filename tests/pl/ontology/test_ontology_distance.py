"""Ridges are the densities that were written, and fit."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.helpers.obo import IDS, write_obo
from tests.helpers.page import check_page
from univerce.pl.ontology.ontology_distance import ontology_distance as plot
from univerce.tl.ontology.ontology_distance import ontology_distance


@pytest.fixture
def adata(tmp_path) -> ad.AnnData:
    pytest.importorskip("obonet")
    rng = np.random.default_rng(0)
    names = rng.choice(["CD4 T cell", "CD8 T cell", "B cell", "monocyte", "enterocyte"], 60)
    adata = ad.AnnData(obs=pd.DataFrame({"cell_type": names}, index=[f"c{i}" for i in range(60)]))
    adata.obsm["X_e"] = rng.normal(size=(60, 3))
    ontology_distance(adata, ontology=write_obo(tmp_path / "a.obo"), ontology_ids=IDS, use_rep="X_e", n_pairs=800)
    return adata


def test_ridges_are_the_densities(adata):
    ax = plot(adata, show=False)
    found = adata.uns["ontology_distance"]
    ridges = [line for line in ax.lines if line.get_color() == "white"]
    assert len(ridges) == len(found["table"]) == 6
    for y, (ridge, steps) in enumerate(zip(ridges, found["table"]["ontology_distance"], strict=True)):
        height = found["density"][str(steps)]
        np.testing.assert_allclose(y - ridge.get_ydata(), 1.6 * height / height.max())
    medians = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == 2]
    assert medians == found["table"]["median"].tolist()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "2", "3", "4", "5", "6"]
    texts = [t.get_text() for t in ax.texts]
    shown = found["table"].dropna(subset=["d", "d_low"])
    assert len(shown) > 3
    for row in shown.itertuples():
        assert f"{row.d:+.2f} ({row.d_low:.2f}, {row.d_high:.2f})" in texts


def test_the_figure_fits_the_page(adata):
    check_page(plot(adata, return_fig=True))


def test_a_distance_of_one_pair_has_no_ridge(adata, tmp_path):
    adata.uns["ontology_distance"]["density"]["3"] = np.nan
    adata.write_h5ad(tmp_path / "a.h5ad")
    _, ax = plt.subplots()
    assert plot(ad.read_h5ad(tmp_path / "a.h5ad"), ax=ax) is ax
    assert len([line for line in ax.lines if line.get_color() == "white"]) == 5

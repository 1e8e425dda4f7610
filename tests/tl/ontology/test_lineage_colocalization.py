"""Lineages: by hand, and against scikit-learn's own leave-one-out."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline

from tests.helpers.blobs import OneScale
from tests.helpers.obo import IDS
from univerce.tl.ontology.lineage_colocalization import lineage_colocalization

LINEAGES = {"lymphoid": "lymphocyte", "myeloid": ["CL:4"], "epithelial": ["CL:2"]}
PLACES = {
    "CD4 T cell": 0, "CD8 T cell": 1, "B cell": 3,  # nearest are CD8, CD4 and CD8: all lymphoid
    "monocyte": 19, "macrophage": 30,  # nearest is the enterocyte, and the goblet cell
    "enterocyte": 20, "goblet cell": 29,  # nearest is the monocyte, and the macrophage
}  # fmt: skip


@pytest.fixture
def adata() -> ad.AnnData:
    names = list(PLACES) * 2
    adata = ad.AnnData(obs=pd.DataFrame({"cell_type": names}, index=[f"c{i}" for i in range(14)]))
    adata.obsm["X_e"] = np.array([[PLACES[name] + (i > 6) - 0.5, 0.01 * (i % 7) ** 2] for i, name in enumerate(names)])
    return adata


def run(adata: ad.AnnData, obo, **change) -> pd.DataFrame:
    options = {"lineages": LINEAGES, "ontology": obo, "ontology_ids": IDS, "use_rep": "X_e", "min_cells": 1}
    return lineage_colocalization(adata, **(options | change))


def test_counts_of_a_line_are_those_by_hand(adata, obo):
    scores = run(adata, obo, n_permutations=20_000).set_index("lineage")
    assert scores[["hits", "n"]].to_numpy().tolist() == [[3, 7], [3, 3], [0, 2], [0, 2]]
    assert scores.index.tolist() == ["overall", "lymphoid", "myeloid", "epithelial"]
    # any other type is the nearest one equally often: (3 x 2 + 2 x 1 + 2 x 1) of 7 x 6
    np.testing.assert_allclose(scores["chance"], [10 / 42, 2 / 6, 1 / 6, 1 / 6], atol=0.015)
    assert scores["majority"].tolist() == [3 / 7, 1, 0, 0]
    types = adata.uns["lineage_colocalization"]["types"].set_index("type")
    assert types.loc["monocyte", ["term", "lineage", "nearest", "nearest_lineage"]].tolist() == [
        "CL:7", "myeloid", "enterocyte", "epithelial",
    ]  # fmt: skip


def test_predictions_equal_scikit_learns_leave_one_out(obo):
    rng = np.random.default_rng(0)
    names = list(PLACES)
    adata = ad.AnnData(obs=pd.DataFrame({"cell_type": names}, index=names))
    centers = np.array([[PLACES[n] > 4, n in ("enterocyte", "goblet cell"), 0] for n in names])
    adata.obsm["X_e"] = centers + rng.normal(scale=0.3, size=(7, 3))
    scores = run(adata, obo)
    types = adata.uns["lineage_colocalization"]["types"].set_index("type")
    x, y = pd.DataFrame(adata.obsm["X_e"].astype(np.float32), names).loc[types.index], types["lineage"].astype(str)
    model = make_pipeline(OneScale(), LogisticRegression(class_weight="balanced", max_iter=2000))
    expected = cross_val_predict(model, x.astype(np.float64), y.to_numpy(), cv=LeaveOneOut())
    assert types["predicted"].tolist() == expected.tolist()
    assert scores["accuracy"].iloc[0] == (expected == y).mean() > scores["majority"].iloc[0]


def test_the_nearest_term_above_decides_and_a_draw_is_left_out(adata, obo, caplog):
    """A CD4 T cell is one edge below T cell, three below blood cell; a macrophage is one below two terms."""
    lineages = {"blood": "CL:1", "T": "T cell", "moving": "CL:9", "epithelial": "CL:2"}
    with caplog.at_level(logging.INFO, "univerce"):
        run(adata, obo, lineages=lineages | {"myeloid": "CL:4"})
    types = adata.uns["lineage_colocalization"]["types"].set_index("type")["lineage"]
    assert types.to_dict() == {
        "B cell": "blood", "CD4 T cell": "T", "CD8 T cell": "T", "enterocyte": "epithelial",
        "goblet cell": "epithelial", "monocyte": "myeloid",
    }  # fmt: skip
    assert "1 types without a single lineage are left out: 'macrophage' (moving or myeloid)." in caplog.text


def test_types_of_no_lineage_or_term_are_left_out(adata, obo, caplog):
    ids = {name: term for name, term in IDS.items() if name != "monocyte"}
    with caplog.at_level(logging.INFO, "univerce"):
        scores = run(adata, obo, ontology_ids=ids, lineages={"lymphoid": "CL:3", "epithelial": "CL:2"})
    assert scores["n"].tolist() == [5, 3, 2]
    assert "'macrophage' (none)" in caplog.text
    assert "have no term: 'monocyte'" in caplog.text


def test_a_lineage_of_one_type_is_not_predicted_and_one_without_types_has_no_row(adata, obo):
    cells = adata[adata.obs["cell_type"] != "goblet cell"].copy()
    scores = run(cells, obo, lineages=LINEAGES | {"nobody": "CL:0"}).set_index("lineage")
    assert scores.loc["epithelial", ["n", "accuracy", "hits"]].tolist() == [1, 0, 0]
    assert "nobody" not in scores.index
    cells = adata[adata.obs["cell_type"].isin(["B cell", "monocyte"])].copy()
    assert run(cells, obo)["accuracy"].tolist() == [0, 0, 0]


def test_the_result_does_not_depend_on_the_order(adata, obo):
    expected = run(adata, obo)
    pd.testing.assert_frame_equal(run(adata[::-1].copy(), obo), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lineages": {"all": "CL:0"}}, "belong to fewer than two lineages: all"),
        ({"lineages": {}}, "belong to fewer than two lineages: none"),
        ({"lineages": {"x": "CL:55"}}, "1 of 1 terms in lineages are not terms.*CL:55"),
        ({"lineages": {"overall": "CL:1"}}, "A lineage is named 'overall'"),
        ({"metric": "city"}, "metric='city' is not known"),
        ({"min_cells": 1.5}, "min_cells=1.5 must be an integer >= 1"),
        ({"n_permutations": -1}, "n_permutations=-1 must be an integer"),
    ],
)
def test_invalid_input_is_named(adata, obo, change, message):
    with pytest.raises(ValueError, match=message):
        run(adata, obo, **change)

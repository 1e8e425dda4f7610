"""Cells without a label or an embedding do not change the results of the other cells."""

from __future__ import annotations

import inspect

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.contracts.test_mudata import ONE, TWO, cells

WITHOUT = {"compare_groups", "evaluate_find_cells", "label_clusters", "map_terms", "marker_fold_changes"}
LABELS = {name: function for name, function in ONE.items() if name not in WITHOUT}
SOURCES = {name: TWO[name] for name in ("centroid_alignment", "find_cells", "search_atlas", "transfer_labels")}
METRICS = [n for n in (*LABELS, *SOURCES) if "metric" in inspect.signature(getattr(uc.tl, n)).parameters]
GONE = np.array([0, 7, 50, 51])


def without_label(data: ad.AnnData) -> ad.AnnData:
    data.obs["type"] = data.obs["type"].where(~np.isin(np.arange(data.n_obs), GONE))
    return data


def with_embedding(value: float) -> ad.AnnData:
    data = cells()
    data.obsm["X_toy"][GONE] = value
    return data


def fewer() -> ad.AnnData:
    return cells()[np.setdiff1d(np.arange(cells().n_obs), GONE)].copy()


def table(result: object) -> pd.DataFrame:
    return result.to_df().join(result.obs) if isinstance(result, ad.AnnData) else result


@pytest.mark.parametrize("call", LABELS.values(), ids=LABELS.keys())
def test_cells_to_analyze(call):
    expected = table(call(fewer()))
    for data in (without_label(cells()), with_embedding(np.nan)):
        pd.testing.assert_frame_equal(table(call(data)), expected)


@pytest.mark.parametrize("name", SOURCES)
def test_cells_of_a_reference(name):
    second = cells(1)
    expected = SOURCES[name](second, fewer())
    for reference, unlabeled in ((without_label(cells()), True), (with_embedding(np.nan), False)):
        first = cells(1)
        found = SOURCES[name](first, reference)
        if expected is not None:
            pd.testing.assert_frame_equal(found, expected)
        if name == "search_atlas" and unlabeled:  # they are neighbors without a label
            assert (first.obs["atlas_share"] <= 1).all()
        else:
            pd.testing.assert_frame_equal(first.obs, second.obs)


def test_cells_of_zeros_have_no_direction_and_are_missing_under_the_cosine():
    assert len(METRICS) >= 5
    for name in METRICS:
        data = [[with_embedding(value)] + ([cells(1)] if name in SOURCES else []) for value in (0.0, np.nan)]
        zero, missing = (table((ONE | TWO)[name](*each, metric="cosine")) for each in data)
        if name == "search_atlas":
            zero, missing = (first.obs for first, _ in data)
        assert len(zero)
        pd.testing.assert_frame_equal(zero, missing)


def test_a_type_with_one_cell_is_not_an_error():
    for name, call in (LABELS | SOURCES).items():
        data = cells()
        data.obs["type"] = data.obs["type"].cat.add_categories("rare")
        data.obs.iloc[3, data.obs.columns.get_loc("type")] = "rare"
        call(data) if name in LABELS else call(cells(1), data)


def test_a_single_type_is_an_error():
    data = cells()[cells().obs["type"] == "T"].copy()
    with pytest.raises(ValueError, match=r"obs\['type'\] has one type, 'T'"):
        uc.tl.evaluate_find_cells(data, "type", use_reps="X_toy")
    for name in ("dendrogram", "lineage_colocalization", "ontology_distance", "silhouette_by_type"):
        with pytest.raises(ValueError, match=r"one type|two terms|two lineages|two types"):
            ONE[name](data.copy())
    with pytest.raises(ValueError, match="two labels"):
        TWO["transfer_labels"](cells(1), data)

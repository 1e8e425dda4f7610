"""Cells without a label or an embedding change nothing: every analysis gives what it gives without those cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from tests.contracts.test_mudata import ONE, TWO, cells

LABELS = {
    name: ONE[name] for name in ONE if name not in ("compare_groups", "evaluate_find_cells", "marker_fold_changes")
}
SOURCES = {name: TWO[name] for name in ("centroid_alignment", "find_cells", "search_atlas", "transfer_labels")}
GONE = np.array([0, 7, 50, 51])


def without_label(data: ad.AnnData) -> ad.AnnData:
    data.obs["type"] = data.obs["type"].where(~np.isin(np.arange(data.n_obs), GONE))
    return data


def without_embedding(data: ad.AnnData) -> ad.AnnData:
    data.obsm["X_toy"][GONE] = np.nan
    return data


def fewer(data: ad.AnnData) -> ad.AnnData:
    return data[np.setdiff1d(np.arange(data.n_obs), GONE)].copy()


def table(result: object) -> pd.DataFrame:
    return result.to_df().join(result.obs) if isinstance(result, ad.AnnData) else result


@pytest.mark.parametrize("call", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("spoil", [without_label, without_embedding])
def test_of_the_cells_that_are_analyzed(call, spoil):
    pd.testing.assert_frame_equal(table(call(spoil(cells()))), table(call(fewer(cells()))))


@pytest.mark.parametrize("call", SOURCES.values(), ids=SOURCES.keys())
@pytest.mark.parametrize("spoil", [without_label, without_embedding])
def test_of_the_cells_of_a_reference(call, spoil):
    first, second = cells(1), cells(1)
    pairs = call(first, spoil(cells())), call(second, fewer(cells()))
    if pairs[1] is not None:
        pd.testing.assert_frame_equal(*pairs)
    if (call, spoil) == (SOURCES["search_atlas"], without_label):  # which are neighbors all the same, of no label
        assert (first.obs["atlas_share"] <= 1).all()
        return
    pd.testing.assert_frame_equal(first.obs, second.obs)


@pytest.mark.parametrize("call", [*LABELS.values(), *SOURCES.values()], ids=[*LABELS.keys(), *SOURCES.keys()])
def test_a_type_of_one_cell_is_no_obstacle(call):
    data = cells()
    data.obs["type"] = data.obs["type"].cat.add_categories("lonely")
    data.obs.iloc[3, data.obs.columns.get_loc("type")] = "lonely"
    call(data) if call in LABELS.values() else call(cells(1), data)


def test_one_type_has_none_to_be_told_from():
    data = cells()[cells().obs["type"] == "T"].copy()
    with pytest.raises(ValueError, match=r"obs\['type'\] has one type, 'T'; to hide one takes two"):
        uc.tl.evaluate_find_cells(data, "type", use_reps="X_toy")
    for name in ("dendrogram", "lineage_colocalization", "ontology_distance", "silhouette_by_type"):
        with pytest.raises(ValueError, match=r"one type|two terms|two lineages|two types"):
            ONE[name](data.copy())
    with pytest.raises(ValueError, match="two labels"):
        TWO["transfer_labels"](cells(1), data)

"""uc.tl.marker_fold_changes: fold changes and tests against numpy, scipy and scanpy, and bad input."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from scipy.stats import false_discovery_control, ttest_rel

from univerce.tl.discovery.marker_fold_changes import marker_fold_changes

N = 240


@pytest.fixture
def adata() -> ad.AnnData:
    """Gene 0 is high and gene 1 low in found cells, in every data set and donor; the last is never expressed."""
    rng = np.random.default_rng(0)
    found = rng.random(N) < 0.4
    rate = (0.3 + rng.gamma(1, 2, size=(N, 1))) * rng.gamma(2, 1, size=30)
    rate[found, 0] *= 8
    rate[found, 1] /= 8
    rate[:, -1] = 0
    out = ad.AnnData(sp.csr_matrix(rng.poisson(rate).astype(np.float32)))
    out.obs["found"], out.obs["data_set"] = found, np.array(["a", "b"])[np.arange(N) % 2]
    out.obs["donor"] = [f"d{i % 4}" for i in np.arange(N) // 2]
    return out


def log_cpm(sums) -> np.ndarray:
    size = sums.sum(axis=1, keepdims=True)
    prior = 2 * size / size.mean()
    return np.log2((sums + prior) / (size + 2 * prior) * 1e6)


def test_fold_changes_are_ratios_of_sums_and_p_values_those_of_scanpy(adata):
    table = marker_fold_changes(adata)
    for name, part in table.groupby("data_set"):
        mine = (adata.obs["data_set"] == name).to_numpy()
        found = adata.obs["found"].to_numpy()
        sums = np.array([adata.X[mine & rows].toarray().sum(axis=0) for rows in (found, ~found)], dtype=float)
        np.testing.assert_allclose(part["log2_fold_change"], np.subtract(*log_cpm(sums)))
        cells = adata[mine, :-1].copy()
        cells.obs["found"] = pd.Categorical(cells.obs["found"].map({True: "yes", False: "no"}))
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
        sc.tl.rank_genes_groups(cells, "found", groups=["yes"], reference="no", method="wilcoxon", tie_correct=True)
        expected = sc.get.rank_genes_groups_df(cells, "yes").set_index("names")["pvals"]
        np.testing.assert_allclose(part.set_index("gene")["p_value"].iloc[:-1], expected[cells.var_names])
        np.testing.assert_allclose(part["p_adjusted"], false_discovery_control(part["p_value"]))
        share = np.asarray((adata.X[mine & found] > 0).mean(axis=0)).ravel()
        np.testing.assert_allclose(part["share_found"], share)
    last = table[table["gene"] == "29"]
    assert last["p_value"].eq(1).all()
    assert last["log2_fold_change"].eq(0).all()


def test_donors_are_compared_by_a_paired_test_of_their_sums(adata):
    table = marker_fold_changes(adata, donor_key="donor", min_cells=5)
    part = table[table["data_set"] == "a"]
    sums = adata.to_df().groupby([adata.obs["data_set"], adata.obs["donor"], adata.obs["found"]]).sum().loc["a"]
    rest, found = (log_cpm(sums.to_numpy(float))[i::2] for i in (0, 1))
    np.testing.assert_allclose(part["log2_fold_change"], (found - rest).mean(axis=0))
    expected = ttest_rel(found[:, :-1], rest[:, :-1]).pvalue
    np.testing.assert_allclose(part["p_value"].iloc[:-1], expected, rtol=1e-6)
    assert adata.uns["marker_fold_changes"]["data_sets"]["n_donors"].tolist() == [4, 4]


def test_one_donor_has_a_fold_change_and_no_p_value(adata):
    adata.obs["donor"] = "only"
    table = marker_fold_changes(adata, donor_key="donor")
    assert table["p_value"].isna().all()
    assert table["log2_fold_change"].notna().all()


def test_data_sets_with_too_few_cells_are_reported(adata, caplog, tmp_path):
    column = adata.obs["data_set"].astype(object)
    found = adata.obs["found"]
    column[found.index[found][:3]] = "few found"
    column[found.index[~found][:20]] = "few found"
    column[found.index[found][10:30]] = "few others"
    adata.obs["data_set"] = column
    with caplog.at_level(logging.WARNING):
        table = marker_fold_changes(adata)
    assert sorted(table["data_set"].unique()) == ["a", "b"]
    status = adata.uns["marker_fold_changes"]["data_sets"]["status"]
    assert status.to_dict() == {
        "a": "ok", "b": "ok", "few found": "3 found cells, too few", "few others": "0 other cells, too few"
    }  # fmt: skip
    assert "2 of 4 data sets are not compared" in caplog.text
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns["marker_fold_changes"]
    pd.testing.assert_frame_equal(back["table"], table, check_dtype=False)


def test_cells_without_a_score_are_left_out(adata):
    expected = marker_fold_changes(adata[10:].copy(), groupby=None)
    adata.obs["found_score"] = 0.5
    adata.obs.loc[adata.obs_names[:10], "found_score"] = np.nan
    pd.testing.assert_frame_equal(marker_fold_changes(adata, groupby=None), expected)


def test_a_dense_layer_and_a_cell_without_counts(adata):
    adata.X = sp.diags((np.arange(N) != 3).astype(np.float32)).tocsr() @ adata.X
    expected = marker_fold_changes(adata)
    adata.layers["raw"] = adata.X.toarray()
    adata.X = adata.X * 0.5
    pd.testing.assert_frame_equal(marker_fold_changes(adata, layer="raw"), expected)
    assert expected["p_value"].notna().all()


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (None, {"found_key": "lost"}, KeyError, r"uc\.tl\.find_cells"),
        (None, {"found_key": "donor"}, ValueError, "holds 'd0'"),
        (None, {"groupby": "batch"}, KeyError, "'batch'"),
        (None, {"layer": "raw"}, KeyError, "raw"),
        (None, {"min_cells": 0}, ValueError, "min_cells=0"),
        (None, {"min_cells": 500}, ValueError, "No data set.*found cells, too few"),
        ("all", {}, ValueError, "0 other cells"),
        ("logged", {}, ValueError, "not whole"),
        ("empty", {}, ValueError, "An atlas has embeddings only"),
    ],
)
def test_bad_input_is_an_error(adata, change, options, error, match):
    if change == "all":
        adata.obs["found"] = True
    if change == "logged":
        adata.X = adata.X.log1p()
    if change == "empty":
        adata = ad.AnnData(obs=adata.obs)
    with pytest.raises(error, match=match):
        marker_fold_changes(adata, **options)

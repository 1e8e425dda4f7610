"""uc.tl.marker_fold_changes: ranks of scanpy, tests of PyDESeq2, what differs by chance only, and bad input."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

from tests.helpers.donors import check_close_to, deseq, donors_of
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


def test_without_donors_genes_are_ranked_by_scanpy_and_not_tested(adata):
    table = marker_fold_changes(adata)
    pd.testing.assert_frame_equal(adata.uns["marker_fold_changes"]["table"], table)
    assert table[["standard_error", "p_value", "p_adjusted"]].isna().all(axis=None)
    for name, part in table.groupby("data_set"):
        assert "29" not in part["gene"].tolist()
        mine = (adata.obs["data_set"] == name).to_numpy()
        found = adata.obs["found"].to_numpy()
        cells = adata[mine, :-1].copy()
        cells.obs["found"] = pd.Categorical(cells.obs["found"].map({True: "yes", False: "no"}))
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
        sc.tl.rank_genes_groups(cells, "found", groups=["yes"], reference="no", method="wilcoxon", tie_correct=True)
        expected = sc.get.rank_genes_groups_df(cells, "yes").set_index("names")["scores"]
        np.testing.assert_allclose(part["score"], expected[part["gene"]], rtol=1e-6)
        share = np.ravel((adata[mine & found, part["gene"]].X > 0).mean(axis=0))
        np.testing.assert_allclose(part["share_found"], share)
        change = part.set_index("gene")["log2_fold_change"]
        assert change.idxmax() == "0"
        assert change.idxmin() == "1"
    data_sets = adata.uns["marker_fold_changes"]["data_sets"]
    assert data_sets["design"].tolist() == ["descriptive", "descriptive"]


def test_fold_changes_without_donors_by_hand():
    """A gene with 40 of 1,000 counts in found and 20 of 3,000 in other cells: 15 and 45 are expected."""
    X = np.repeat([[2, 48], [1, 49], [0, 50]], [20, 20, 40], axis=0)
    cells = ad.AnnData(X.astype(np.float32), obs=pd.DataFrame({"found": np.arange(80) < 20}, index=map(str, range(80))))
    table = marker_fold_changes(cells, groupby=None)
    assert table["log2_fold_change"].iloc[0] == pytest.approx(np.log2(42 / 17) - np.log2(22 / 47))


def test_one_count_in_few_cells_says_little():
    rng = np.random.default_rng(0)
    cells = ad.AnnData(sp.csr_matrix(rng.poisson(0.02, size=(2000, 500)).astype(np.float32)))
    cells.obs["found"] = np.arange(2000) < 20
    table = marker_fold_changes(cells, groupby=None).set_index("gene")
    n = pd.Series(np.ravel(cells.X[:20].sum(axis=0)), cells.var_names)[table.index]
    assert (n == 1).any()
    assert table.loc[n <= 1, "log2_fold_change"].abs().max() < 1


def test_donors_are_compared_by_a_paired_test_of_their_sums():
    cells = donors_of({"rest": [60] * 4, "found": [30] * 4}, change={"found": 4.0}, paired=True)
    cells.obs["found"] = cells.obs["state"] == "found"
    cells.obs["data_set"] = "a"
    table = marker_fold_changes(cells, donor_key="donor")
    expected = deseq(cells, "~donor + state", ["state", "found", "rest"], table["gene"])
    check_close_to(table, expected)
    assert table.loc[table["p_adjusted"] < 0.05, "gene"].tolist() == ["gene 0"]
    assert not table["gene"].str.startswith("silent").any()
    assert cells.uns["marker_fold_changes"]["data_sets"].loc["a", ["n_donors", "design"]].tolist() == [4, "paired"]


@pytest.mark.parametrize("n_found", [100, 12])
def test_cells_found_at_random_have_no_markers(n_found):
    cells = donors_of({"any": [240] * 4}, n_genes=300, rate=2.0)
    cells.obs["found"] = cells.obs.groupby("donor").cumcount() < n_found
    table = marker_fold_changes(cells, groupby=None, donor_key="donor")
    assert table["p_value"].count() > 250
    assert not (table["p_adjusted"] < 0.05).any()
    assert (table["p_value"] < 0.05).mean() < 0.08


def test_data_sets_of_few_donors_are_not_tested(adata, caplog):
    adata.obs.loc[adata.obs["data_set"] == "b", "donor"] = "only"
    with caplog.at_level(logging.WARNING):
        table = marker_fold_changes(adata, donor_key="donor", min_cells=5)
    data_sets = adata.uns["marker_fold_changes"]["data_sets"]
    assert data_sets["design"].to_dict() == {"a": "paired", "b": "descriptive"}
    assert data_sets["n_donors"].to_dict() == {"a": 4, "b": 0}
    tested = table.groupby("data_set")["p_value"].count()
    assert tested["a"] > 0
    assert tested["b"] == 0
    assert table["log2_fold_change"].notna().all()
    assert (
        "1 data sets have fold changes without a test, such as 'b': 1 donors with 5 cells and 1 with 5" in caplog.text
    )


def test_scanpy_reads_and_plots_the_result(adata):
    table = marker_fold_changes(adata)
    ranked = sc.get.rank_genes_groups_df(adata, "b", key="marker_fold_changes")
    part = table[table["data_set"] == "b"].sort_values("score", ascending=False, kind="stable")
    np.testing.assert_allclose(ranked["logfoldchanges"].dropna(), part["log2_fold_change"], rtol=1e-5)
    axes = sc.pl.rank_genes_groups(adata, key="marker_fold_changes", n_genes=3, show=False)
    assert axes[0].texts[0].get_text() == "0"
    options = {"key": "marker_fold_changes", "n_genes": 3, "dendrogram": False, "show": False}
    sc.pl.rank_genes_groups_dotplot(adata, values_to_plot="logfoldchanges", **options)
    marker_fold_changes(adata, groupby=None)
    sc.pl.rank_genes_groups_dotplot(adata, groupby="data_set", **options)


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
        "a": "ok",
        "b": "ok",
        "few found": "3 cells and 20 others, 10 of each are needed",
        "few others": "20 cells and 0 others, 10 of each are needed",
    }
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
    assert expected["score"].notna().all()


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (None, {"found_key": "lost"}, KeyError, r"uc\.tl\.find_cells"),
        (None, {"found_key": "donor"}, ValueError, "holds 'd0'"),
        (None, {"groupby": "batch"}, KeyError, "'batch'"),
        (None, {"layer": "raw"}, KeyError, "raw"),
        (None, {"min_cells": 0}, ValueError, "min_cells=0"),
        (None, {"min_cells": 500}, ValueError, "No data set.* 500 of each are needed"),
        ("all", {}, ValueError, "and 0 others"),
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

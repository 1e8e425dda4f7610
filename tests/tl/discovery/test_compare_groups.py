"""uc.tl.compare_groups: PyDESeq2 with a formula, scipy and scanpy, what differs by chance only, and bad input."""

from __future__ import annotations

import logging
import sys
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from scipy.stats import false_discovery_control, ttest_ind, ttest_rel

from tests.helpers.donors import N_SILENT, check_close_to, deseq, donors_of
from univerce.tl.discovery.compare_groups import compare_groups

OPTIONS = {"condition_key": "state", "donor_key": "donor", "control": "control"}


@pytest.fixture
def adata() -> ad.AnnData:
    """Twelve donors of three conditions; gene 0 is high in COPD. Two thirds of the cells are found."""
    out = donors_of({"control": [90] * 4, "COPD": [90] * 4, "IPF": [90] * 4}, change={"COPD": 4.0})
    out.obs["found"] = np.arange(out.n_obs) % 3 > 0
    return out


@pytest.fixture
def paired() -> ad.AnnData:
    """Five donors in both conditions; gene 0 is high in the case. Donors differ much."""
    return donors_of({"control": [60] * 5, "case": [60] * 5}, change={"case": 2.0}, paired=True, sd=0.8)


def test_donors_are_compared_by_pydeseq2(adata):
    table = compare_groups(adata, **OPTIONS)
    pd.testing.assert_frame_equal(adata.uns["compare_groups"]["table"], table)
    assert table["group"].unique().tolist() == ["COPD", "IPF"]
    found = adata[adata.obs["found"]]
    for group, part in table.groupby("group"):
        cells = found[found.obs["state"].isin([group, "control"])]
        expected = deseq(cells, "~state", ["state", group, "control"], part["gene"])
        check_close_to(part, expected)
        np.testing.assert_allclose(part["p_adjusted"], false_discovery_control(part["p_value"]), rtol=1e-6)
        share = (cells[cells.obs["state"] == group, part["gene"]].X > 0).mean(axis=0)
        np.testing.assert_allclose(part["share_group"], np.ravel(share))
    assert table.loc[table["p_adjusted"] < 0.05, ["group", "gene"]].to_numpy().tolist() == [["COPD", "gene 0"]]
    assert adata.uns["compare_groups"]["abundance"]["design"].tolist() == ["", "unpaired", "unpaired"]


def test_donors_with_both_conditions_are_paired(paired):
    table = compare_groups(paired, **OPTIONS)
    expected = deseq(paired, "~donor + state", ["state", "case", "control"], table["gene"])
    check_close_to(table, expected)
    single = paired[(paired.obs["donor"] != "donor 0") | (paired.obs["state"] == "control")].copy()
    compare_groups(single, **OPTIONS)
    result = single.uns["compare_groups"]
    assert result["abundance"]["design"].tolist() == ["", "paired"]
    four = paired[paired.obs["donor"] != "donor 0"].copy()
    pd.testing.assert_frame_equal(result["table"], compare_groups(four, **OPTIONS))


def test_a_paired_test_sees_what_donors_hide(paired):
    p = compare_groups(paired, **OPTIONS).set_index("gene")["p_value"]
    paired.obs["donor"] = paired.obs["donor"].astype(str) + " " + paired.obs["state"].astype(str)
    unpaired = compare_groups(paired, **OPTIONS).set_index("gene")["p_value"]
    assert p["gene 0"] < 1e-3
    assert unpaired["gene 0"] > 10 * p["gene 0"]


def test_genes_without_counts_in_either_condition_are_not_tested(adata):
    """The third condition alone expresses the genes that are silent in the others."""
    X = adata.X.tolil()
    X[np.ix_(np.flatnonzero(adata.obs["state"] == "IPF"), np.arange(adata.n_vars - N_SILENT, adata.n_vars))] = 1
    adata.X = X.tocsr()
    table = compare_groups(adata, **OPTIONS)
    silent = table["gene"].str.startswith("silent")
    assert table.loc[silent, "group"].unique().tolist() == ["IPF"]
    ranked = sc.get.rank_genes_groups_df(adata, "COPD", key="compare_groups").set_index("names")
    assert ranked.loc[ranked.index.str.startswith("silent"), "pvals"].isna().all()


def test_conditions_with_other_numbers_of_cells_do_not_differ():
    """Ten times as many cells of each control as of each case, drawn from one distribution."""
    cells = donors_of({"control": [100] * 6, "case": [10] * 6}, n_genes=400, rate=2.0)
    table = compare_groups(cells, **OPTIONS)
    assert table["p_value"].count() > 300
    assert not (table["p_adjusted"] < 0.05).any()
    assert 0.02 < (table["p_value"] < 0.05).mean() < 0.08


def test_three_donors_find_most_of_what_differs():
    cells = donors_of({"control": [60] * 3, "case": [60] * 3}, n_genes=400, change={"case": 3.0}, n_changed=40)
    table = compare_groups(cells, **OPTIONS).set_index("gene")
    found = table.index[table["p_adjusted"] < 0.05]
    changed = {f"gene {i}" for i in range(40)}
    assert len(changed & set(found)) > 0.6 * 40
    assert len(set(found) - changed) <= 0.15 * len(found)
    logged = np.log2(cells.to_df().groupby([cells.obs["state"], cells.obs["donor"]], observed=True).sum() + 1)
    p = ttest_ind(logged.loc["case"], logged.loc["control"], equal_var=False).pvalue
    p = np.where(np.isnan(p), 1, p)
    assert (false_discovery_control(p)[:40] < 0.05).sum() < 0.5 * 40


def test_without_donors_genes_are_ranked_and_not_tested(adata):
    table = compare_groups(adata, **OPTIONS | {"donor_key": None})
    assert table[["standard_error", "p_value", "p_adjusted"]].isna().all(axis=None)
    copd = table[table["group"] == "COPD"].set_index("gene")
    assert copd["log2_fold_change"].idxmax() == copd["score"].idxmax() == "gene 0"
    result = adata.uns["compare_groups"]
    assert result["params"]["method"] == "descriptive"
    assert result["abundance"]["design"].tolist() == ["", "descriptive", "descriptive"]
    assert result["abundance"]["n_donors"].eq(0).all()
    assert len(result["donors"]) == 0


def test_scanpy_reads_the_result_and_a_file_keeps_it(adata, tmp_path):
    table = compare_groups(adata, **OPTIONS)
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad")
    for name in ("table", "donors", "abundance"):
        pd.testing.assert_frame_equal(
            back.uns["compare_groups"][name], adata.uns["compare_groups"][name], check_dtype=False
        )
    for data in (adata, back):
        ranked = sc.get.rank_genes_groups_df(data, "COPD", key="compare_groups")
        assert len(ranked) == data.n_vars
        ranked = ranked.dropna(subset="scores")
        assert ranked["names"][0] == "gene 0"
        assert (ranked["scores"].diff().dropna() <= 0).all()
        expected = table[table["group"] == "COPD"].set_index("gene").loc[ranked["names"]]
        np.testing.assert_allclose(ranked["pvals"], expected["p_value"])
        np.testing.assert_allclose(ranked["pct_nz_group"], expected["share_group"])
        assert len(sc.get.rank_genes_groups_df(data, None, key="compare_groups", pval_cutoff=0.05)) == 1
    sc.pl.rank_genes_groups(adata, key="compare_groups", n_genes=3, show=False)
    axes = sc.pl.rank_genes_groups_dotplot(adata, key="compare_groups", n_genes=3, dendrogram=False, show=False)
    assert "gene 0" in [text.get_text() for text in axes["mainplot_ax"].get_xticklabels()]


@pytest.mark.parametrize("kind", ["unpaired", "paired"])
def test_shares_of_found_cells_are_compared_by_a_t_test_between_donors(adata, paired, kind):
    data = adata if kind == "unpaired" else paired
    data.obs["found"] = np.random.default_rng(0).random(data.n_obs) < np.where(data.obs["state"] == "control", 0.4, 0.6)
    compare_groups(data, **OPTIONS)
    share = data.obs.groupby(["state", "donor"], observed=True)["found"].mean()
    abundance = data.uns["compare_groups"]["abundance"].set_index("condition")
    assert np.isnan(abundance.loc["control", "p_value"])
    for state in abundance.index:
        assert abundance.loc[state, "mean_share"] == pytest.approx(share[state].mean())
        assert abundance.loc[state, "sem"] == pytest.approx(share[state].sem())
    for state in abundance.index[1:]:
        two = share[state], share["control"]
        p = (ttest_rel(*two) if kind == "paired" else ttest_ind(*two, equal_var=False)).pvalue
        assert abundance.loc[state, "p_value"] == pytest.approx(p)


def test_equal_shares_are_no_evidence(paired):
    compare_groups(paired, **OPTIONS)
    assert paired.uns["compare_groups"]["abundance"]["p_value"].isna().all()


def test_donors_with_few_found_cells_count_for_the_abundance_only(adata):
    first = np.flatnonzero(adata.obs["donor"] == "donor 0")
    adata.obs.iloc[first[5:], adata.obs.columns.get_loc("found")] = False
    compare_groups(adata, **OPTIONS)
    donors = adata.uns["compare_groups"]["donors"].set_index("donor")
    assert not donors.loc["donor 0", "compared"]
    abundance = adata.uns["compare_groups"]["abundance"].set_index("condition")
    assert abundance.loc["control", ["n_donors", "n_donors_compared"]].tolist() == [4, 3]


def test_a_group_of_too_few_donors_is_left_out(adata, caplog):
    few = adata[~adata.obs["donor"].isin(["donor 4", "donor 5"])].copy()
    with caplog.at_level(logging.WARNING):
        table = compare_groups(few, **OPTIONS)
    assert table["group"].unique().tolist() == ["IPF"]
    assert (
        "'COPD' is not compared with 'control': 2 donors with 10 cells and 4 with 10 others, 3 of each" in caplog.text
    )


def test_cells_without_donor_condition_or_score_are_left_out(adata):
    adata.obs["found_score"] = 0.5
    expected = compare_groups(adata[30:].copy(), **OPTIONS)
    adata.obs.loc[adata.obs_names[:10], "found_score"] = np.nan
    adata.obs = adata.obs.astype({"donor": object, "state": object})
    adata.obs.loc[adata.obs_names[10:20], "donor"] = np.nan
    adata.obs.loc[adata.obs_names[20:30], "state"] = np.nan
    pd.testing.assert_frame_equal(compare_groups(adata, **OPTIONS), expected)


def test_without_pydeseq2_the_error_names_the_extra(adata, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydeseq2.dds", None)
    with pytest.raises(ImportError, match=r'pip install "univerce\[de\]"'):
        compare_groups(adata, **OPTIONS)
    compare_groups(adata, **OPTIONS | {"donor_key": None})


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (None, {"donor_key": "person"}, KeyError, "person"),
        (None, {"control": "healthy"}, ValueError, "no 'healthy'"),
        (None, {"groups": ["control"]}, ValueError, "other than the control"),
        (None, {"min_cells": 1000}, ValueError, "0 donors with 1000 cells .* 3 of each are needed"),
        (None, {"min_cells": 1000, "donor_key": None}, ValueError, "240 cells and 240 others, 1000 of each"),
        (None, {"min_cells": 0}, ValueError, "min_cells=0"),
        ("single", {}, ValueError, "and 1 with 10 others, 3 of each"),
        ("logged", {}, ValueError, "not whole"),
        ("silent", {}, ValueError, "no gene has enough counts"),
    ],
)
def test_bad_input_is_an_error(adata, change, options, error, match):
    if change == "single":
        adata.obs.loc[adata.obs["state"] == "control", "donor"] = "donor 0"
    if change == "logged":
        adata.X = adata.X.log1p()
    if change == "silent":
        adata.X = sp.csr_matrix(adata.shape, dtype=np.float32)
    with pytest.raises(error, match=match):
        compare_groups(adata, **OPTIONS | options)


def test_the_filters_of_warnings_stay(adata):
    """PyDESeq2 ignores future warnings of the whole process when it is imported."""
    for name in [name for name in sys.modules if name.startswith("pydeseq2")]:
        sys.modules.pop(name)
    before = list(warnings.filters)
    compare_groups(adata, **OPTIONS)
    assert warnings.filters == before

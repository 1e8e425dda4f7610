"""uc.tl.compare_groups: Welch's test between donors, against scipy, and bad input."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import false_discovery_control, ttest_ind

from univerce.tl.discovery.compare_groups import compare_groups

N = 900
OPTIONS = {"condition_key": "state", "donor_key": "donor", "control": "control"}


@pytest.fixture
def adata() -> ad.AnnData:
    """Nine donors of three conditions; gene 0 is high in the found cells of COPD, gene 1 differs between donors."""
    rng = np.random.default_rng(0)
    donor = np.arange(N) % 9
    state = np.array(["control", "COPD", "IPF"])[donor // 3]
    found = rng.random(N) < np.where(state == "IPF", 0.5, 0.25)
    rate = rng.gamma(2, 1, size=20) * np.ones((N, 1))
    rate[(state == "COPD") & found, 0] *= 6
    rate[:, 1] *= np.array([1, 9, 1, 7, 1, 8, 1, 1, 9])[donor]
    rate[:, -1] = 0
    out = ad.AnnData(sp.csr_matrix(rng.poisson(rate).astype(np.float32)))
    out.obs = pd.DataFrame({"state": state, "donor": [f"d{i}" for i in donor], "found": found}, index=out.obs_names)
    return out


def test_p_values_are_those_of_scipy_between_donors(adata):
    table = compare_groups(adata, **OPTIONS)
    pd.testing.assert_frame_equal(adata.uns["compare_groups"]["table"], table)
    found = adata.obs["found"].to_numpy()
    sums = pd.DataFrame(adata.X[found].toarray()).groupby(adata.obs["donor"][found].to_numpy()).sum().to_numpy()
    size = sums.sum(axis=1, keepdims=True).astype(float)
    prior = 2 * size / size.mean()
    logged = np.log2((sums + prior) / (size + 2 * prior) * 1e6)[:, :-1]
    assert table["group"].unique().tolist() == ["COPD", "IPF"]
    for group, rows in (("COPD", slice(3, 6)), ("IPF", slice(6, 9))):
        part = table[table["group"] == group]
        assert part["gene"].tolist() == adata.var_names[:-1].tolist()
        expected = ttest_ind(logged[rows], logged[:3], equal_var=False).pvalue
        np.testing.assert_allclose(part["p_value"], expected, rtol=1e-6)
        np.testing.assert_allclose(part["p_adjusted"], false_discovery_control(expected), rtol=1e-6)
        np.testing.assert_allclose(part["log2_fold_change"], logged[rows].mean(axis=0) - logged[:3].mean(axis=0))
    copd = table[table["group"] == "COPD"].set_index("gene")
    assert copd["p_value"].idxmin() == "0"
    assert copd.loc["0", "p_adjusted"] < 0.05
    assert copd.loc["1", "p_value"] > 0.1


def test_abundances_are_means_over_donors_and_survive_a_file(adata, tmp_path):
    compare_groups(adata, **OPTIONS)
    result = adata.uns["compare_groups"]
    share = adata.obs.groupby(["state", "donor"], observed=True)["found"].mean()
    abundance = result["abundance"].set_index("condition")
    for state in ("control", "COPD", "IPF"):
        assert abundance.loc[state, "mean_share"] == pytest.approx(share[state].mean())
        assert abundance.loc[state, "sem"] == pytest.approx(share[state].sem())
    expected = ttest_ind(share["IPF"], share["control"], equal_var=False).pvalue
    assert abundance.loc["IPF", "p_value"] == pytest.approx(expected)
    assert np.isnan(abundance.loc["control", "p_value"])
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = ad.read_h5ad(tmp_path / "x.h5ad").uns["compare_groups"]
    for name in ("table", "donors", "abundance"):
        pd.testing.assert_frame_equal(back[name], result[name], check_dtype=False)


def test_donors_with_few_found_cells_count_for_the_abundance_only(adata):
    few = (adata.obs["donor"] == "d0") & (np.arange(N) > 100)
    adata.obs.loc[few, "found"] = False
    compare_groups(adata, **OPTIONS)
    donors = adata.uns["compare_groups"]["donors"].set_index("donor")
    assert not donors.loc["d0", "compared"]
    abundance = adata.uns["compare_groups"]["abundance"].set_index("condition")
    assert abundance.loc["control", ["n_donors", "n_donors_compared"]].tolist() == [3, 2]


def test_cells_without_donor_condition_or_score_are_left_out(adata):
    adata.obs["found_score"] = 0.5
    expected = compare_groups(adata[30:].copy(), **OPTIONS)
    adata.obs.loc[adata.obs_names[:10], "found_score"] = np.nan
    adata.obs = adata.obs.astype({"donor": object, "state": object})
    adata.obs.loc[adata.obs_names[10:20], "donor"] = np.nan
    adata.obs.loc[adata.obs_names[20:30], "state"] = np.nan
    pd.testing.assert_frame_equal(compare_groups(adata, **OPTIONS), expected)


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (None, {"donor_key": "person"}, KeyError, "person"),
        (None, {"control": "healthy"}, ValueError, "no 'healthy'"),
        (None, {"groups": ["control"]}, ValueError, "other than the control"),
        (None, {"min_cells": 1000}, ValueError, "two donors with 1000 found cells"),
        (None, {"min_cells": 0}, ValueError, "min_cells=0"),
        ("paired", {}, ValueError, "two conditions, such as 'd0'"),
        ("single", {}, ValueError, "'control' has 1"),
        ("logged", {}, ValueError, "not whole"),
    ],
)
def test_bad_input_is_an_error(adata, change, options, error, match):
    if change == "paired":
        adata.obs.loc[adata.obs_names[0], "state"] = "IPF"
    if change == "single":
        adata.obs.loc[adata.obs["state"] == "control", "donor"] = "d0"
    if change == "logged":
        adata.X = adata.X.log1p()
    with pytest.raises(error, match=match):
        compare_groups(adata, **OPTIONS | options)

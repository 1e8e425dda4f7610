"""Dispersions and degrees of freedom against known ones, and outliers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from univerce.tl.discovery._deseq import dispersion_trend, prior_df, wald_test


@pytest.mark.parametrize("dispersion", [0.1, 0.02])
def test_the_trend_is_the_dispersion_of_most_genes(dispersion):
    rng = np.random.default_rng(0)
    mean = np.repeat([20.0, 500.0], 300) * np.ones((8, 1))
    sums = rng.poisson(mean * rng.gamma(1 / dispersion, dispersion, mean.shape))
    sums[:, ::40] = rng.poisson(mean[:, ::40] * rng.gamma(0.5, 2, (8, 15)))  # few genes vary much
    fitted = np.repeat([sums[:4].mean(axis=0), sums[4:].mean(axis=0)], 4, axis=0)
    assert dispersion_trend(sums, fitted, 2).mean() == pytest.approx(dispersion, rel=0.2)


def test_counts_without_excess_variance_have_the_least_dispersion():
    sums = np.random.default_rng(0).poisson(100, (6, 400))
    fitted = np.repeat([sums[:3].mean(axis=0), sums[3:].mean(axis=0)], 3, axis=0)
    assert dispersion_trend(sums, fitted, 2).max() < 0.003


def test_degrees_of_freedom_of_a_prior_by_hand():
    """trigamma(1) is pi^2 / 6, and trigamma(x + 1) is trigamma(x) - 1 / x^2."""
    assert prior_df(np.pi**2 / 6) == pytest.approx(2)
    assert prior_df(np.pi**2 / 6 - 1 - 1 / 4) == pytest.approx(6)


def test_one_outlier_is_no_difference_and_p_values_have_heavy_tails():
    rng = np.random.default_rng(0)
    sums = rng.poisson(100 * rng.gamma(10, 0.1, (8, 60)))
    sums[0, 0] = 20_000
    is_case = np.arange(8) < 4
    table = wald_test(sums, is_case)
    assert np.isnan(table["p_value"][0])
    assert np.isnan(table["p_adjusted"][0])
    rest = table.iloc[1:]
    df = [t.isf(p / 2, 6) >= abs(score) for p, score in zip(rest["p_value"], rest["score"], strict=True)]
    assert all(df)  # more degrees of freedom than the residual ones

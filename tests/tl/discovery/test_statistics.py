"""Kernels of the discovery of cells, against scikit-learn, statsmodels-free oracles and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, precision_score, recall_score

from univerce.tl.discovery import _statistics as kernels


@pytest.mark.parametrize(("count", "n"), [(0, 5), (3, 7), (7, 7), (40, 1000)])
def test_intervals_are_those_of_scipy(count, n):
    low, high = kernels.wilson(np.array([count]), np.array([n]))
    expected = binomtest(count, n).proportion_ci(method="wilson")
    np.testing.assert_allclose([low[0], high[0]], [expected.low, expected.high], atol=1e-12)


def test_an_interval_of_no_cells_is_nan():
    assert np.isnan(kernels.wilson(np.array([0]), np.array([0]))).all()


def test_the_curve_is_that_of_scikit_learn_at_every_threshold():
    rng = np.random.default_rng(0)
    positive = rng.random(200) < 0.3
    score = np.round(rng.normal(size=200) + positive, 1)
    curve = kernels.precision_recall(score, positive, positive.mean())
    assert curve["threshold"].tolist() == sorted(set(score), reverse=True)
    for row in curve.itertuples():
        found = score >= row.threshold
        assert row.n_found == found.sum()
        assert row.precision == pytest.approx(precision_score(positive, found))
        assert row.recall == pytest.approx(recall_score(positive, found))
        assert row.false_positive_rate == pytest.approx(found[~positive].mean())
    assert kernels.average_precision(curve) == pytest.approx(average_precision_score(positive, score))


def test_precision_at_another_prevalence_is_that_of_a_sample_with_that_prevalence():
    positive = np.array([1, 1, 0, 1, 0, 0], dtype=bool)
    score = np.array([6, 5, 4, 3, 2, 1.0])
    repeated = np.concatenate([np.flatnonzero(positive), np.tile(np.flatnonzero(~positive), 9)])
    rare = kernels.precision_recall(score, positive, 0.1)
    sample = kernels.precision_recall(score[repeated], positive[repeated], 0.1)
    np.testing.assert_allclose(rare["precision"], sample["precision"])
    assert rare["precision"].iloc[3] == pytest.approx(0.1 / (0.1 + 0.9 / 3))


def test_the_threshold_is_the_lowest_that_has_the_precision():
    positive = np.array([1] * 12 + [0] + [1] * 12 + [0] * 10, dtype=bool)
    curve = kernels.precision_recall(np.arange(len(positive), 0, -1.0), positive, positive.mean())
    threshold = kernels.threshold_of_precision(curve, 0.95)
    assert kernels.at(curve, threshold) == {
        "precision": pytest.approx(24 / 25), "recall": 1, "false_positive_rate": pytest.approx(1 / 11)
    }  # fmt: skip
    assert (curve["precision"][curve["threshold"] < threshold] < 0.95).all()
    with pytest.raises(ValueError, match=r"precision=0\.99.* the best is 1\.000|out of reach"):
        kernels.threshold_of_precision(kernels.precision_recall(-positive.astype(float), positive, 0.5), 0.99)


def test_nothing_found_has_no_precision():
    curve = kernels.precision_recall(np.array([0.2, 0.1]), np.array([True, False]), 0.5)
    found = kernels.at(curve, 0.9)
    assert np.isnan(found["precision"])
    assert found["recall"] == 0


def test_another_prior_follows_bayes():
    p_given_sought, p_given_rest, before, after = 0.6, 0.2, 0.5, 0.02
    posterior = [
        q * p_given_sought / (q * p_given_sought + (1 - q) * p_given_rest) for q in (before, after)
    ]  # fmt: skip
    assert kernels.shift_prior(np.array(posterior[0]), before, after) == pytest.approx(posterior[1])


def test_sums_and_counts_per_million_by_hand():
    X = sp.csr_matrix(np.array([[1, 3], [2, 0], [4, 4], [5, 5]]))
    sums = kernels.sum_groups(X, np.array([0, 0, 1, -1]), 3)
    np.testing.assert_array_equal(sums, [[3, 3], [4, 4], [0, 0]])
    np.testing.assert_array_equal(kernels.sum_groups(X.toarray(), np.array([0, 0, 1, -1]), 3), sums)


def test_logged_counts_per_million_by_the_formula_of_edger():
    sums = np.array([[10.0, 90.0], [100.0, 200.0], [0, 0]])
    logged = kernels.log_cpm(sums)
    for row, size in zip((0, 1), (100, 300), strict=True):
        prior = 2 * size / 200
        np.testing.assert_allclose(logged[row], np.log2((sums[row] + prior) / (size + 2 * prior) * 1e6))
    assert np.isnan(logged[2]).all()


def test_adjusted_p_values_by_hand():
    np.testing.assert_allclose(
        kernels.benjamini_hochberg(np.array([0.01, np.nan, 0.04, 0.03])), [0.03, np.nan, 0.04, 0.04]
    )

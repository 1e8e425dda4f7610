"""Thresholds, priors and pseudobulk kernels, against scikit-learn and numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import precision_score, recall_score

from univerce.tl.discovery._pseudobulk import adjust, log_cpm, sum_groups, t_test
from univerce.tl.discovery._thresholds import precision_recall, scores_at, shift_prior, threshold_of_precision


def test_the_curve_is_that_of_scikit_learn_at_every_threshold():
    rng = np.random.default_rng(0)
    positive = rng.random(200) < 0.3
    score = np.round(rng.normal(size=200) + positive, 1)
    curve = precision_recall(score, positive, positive.mean())
    assert curve["threshold"].tolist() == sorted(set(score), reverse=True)
    for row in curve.itertuples():
        found = score >= row.threshold
        assert row.n_found == found.sum()
        assert row.precision == pytest.approx(precision_score(positive, found))
        assert row.recall == pytest.approx(recall_score(positive, found))
        assert row.false_positive_rate == pytest.approx(found[~positive].mean())


def test_precision_at_another_prevalence_is_that_of_a_sample_with_that_prevalence():
    positive = np.array([1, 1, 0, 1, 0, 0], dtype=bool)
    score = np.array([6, 5, 4, 3, 2, 1.0])
    repeated = np.concatenate([np.flatnonzero(positive), np.tile(np.flatnonzero(~positive), 9)])
    rare = precision_recall(score, positive, 0.1)
    sample = precision_recall(score[repeated], positive[repeated], 0.1)
    np.testing.assert_allclose(rare["precision"], sample["precision"])
    assert rare["precision"].iloc[3] == pytest.approx(0.1 / (0.1 + 0.9 / 3))


def test_the_threshold_is_the_lowest_with_the_precision():
    positive = np.array([1] * 12 + [0] + [1] * 12 + [0] * 10, dtype=bool)
    curve = precision_recall(np.arange(len(positive), 0, -1.0), positive, positive.mean())
    threshold = threshold_of_precision(curve, 0.95)
    assert scores_at(curve, threshold) == {
        "precision": pytest.approx(24 / 25), "recall": 1, "false_positive_rate": pytest.approx(1 / 11)
    }  # fmt: skip
    assert (curve["precision"][curve["threshold"] < threshold] < 0.95).all()
    assert np.isnan(scores_at(curve, 99)["precision"])
    with pytest.raises(ValueError, match=r"precision of 0\.99 is out of reach.* The best is 0\.500"):
        threshold_of_precision(precision_recall(-positive.astype(float), positive, 0.5), 0.99)


def test_another_prior_follows_bayes():
    of_positives, of_negatives, before, after = 0.6, 0.2, 0.5, 0.02
    posterior = [q * of_positives / (q * of_positives + (1 - q) * of_negatives) for q in (before, after)]
    assert shift_prior(np.array(posterior[0]), before, after) == pytest.approx(posterior[1])


def test_sums_by_hand_and_counts_per_million_by_the_formula_of_edger():
    X = sp.csr_matrix(np.array([[1, 3], [2, 0], [4, 4], [5, 5]]))
    np.testing.assert_array_equal(sum_groups(X, np.array([0, 0, 1, -1]), 3), [[3, 3], [4, 4], [0, 0]])
    sums = np.array([[10.0, 90.0], [100.0, 200.0], [0, 0]])
    logged = log_cpm(sums)
    for row, size in zip((0, 1), (100, 300), strict=True):
        prior = 2 * size / 200
        np.testing.assert_allclose(logged[row], np.log2((sums[row] + prior) / (size + 2 * prior) * 1e6))
    assert np.isnan(logged[2]).all()


def test_columns_without_variance_are_no_evidence():
    same, other = np.ones((3, 2)), np.array([[1.0, 2.0]] * 3)
    for paired in (True, False):
        np.testing.assert_array_equal(t_test(same, other, paired=paired), [1.0, np.nan])
        assert np.isnan(t_test(same[:1], other[:1], paired=paired)).all()


def test_adjusted_p_values_by_hand():
    np.testing.assert_allclose(adjust(np.array([0.01, np.nan, 0.04, 0.03])), [0.03, np.nan, 0.04, 0.04])

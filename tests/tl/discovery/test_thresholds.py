"""Thresholds and priors, against scikit-learn and numbers by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score, precision_score, recall_score

from univerce.tl.discovery._thresholds import (
    Rates,
    average_precision,
    count_rates,
    describe_rates,
    estimate_prevalence,
    shift_prior,
    threshold_of_precision,
)


def test_rates_and_the_average_precision_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    positive = rng.random(200) < 0.3
    score = np.round(rng.normal(size=200) + positive, 1)
    share = positive.mean()
    for threshold in (-0.5, 0.3, 1.0):
        found = describe_rates(count_rates(score, positive, threshold), share)
        assert found["precision"] == pytest.approx(precision_score(positive, score >= threshold))
        assert found["recall"] == pytest.approx(recall_score(positive, score >= threshold))
        assert found["false_positive_rate"] == pytest.approx((score >= threshold)[~positive].mean())
    assert average_precision(score, positive, share) == pytest.approx(average_precision_score(positive, score))


def test_precision_at_another_prevalence_is_that_of_a_sample_with_that_prevalence():
    positive = np.array([1, 1, 0, 1, 0, 0], dtype=bool)
    score = np.array([6, 5, 4, 3, 2, 1.0])
    repeated = np.concatenate([np.flatnonzero(positive), np.tile(np.flatnonzero(~positive), 9)])
    rare = describe_rates(count_rates(score, positive, 3), 0.1)["precision"]
    assert rare == pytest.approx((score[repeated] >= 3)[positive[repeated]].sum() / (score[repeated] >= 3).sum())
    assert rare == pytest.approx(0.1 / (0.1 + 0.9 / 3))
    expected = average_precision_score(positive[repeated], score[repeated])
    assert average_precision(score, positive, 0.1) == pytest.approx(expected)


def test_bounds_are_the_exact_ones_of_scipy():
    found = describe_rates(Rates(45, 50, 0, 5000), 1e-4)
    recall, false_rate = (binomtest(k, n).proportion_ci(method="exact") for k, n in ((45, 50), (0, 5000)))
    assert (found["recall_low"], found["recall_high"]) == pytest.approx((recall.low, recall.high))
    assert found["false_positive_rate_high"] == pytest.approx(false_rate.high)
    assert found["false_positive_rate_high"] == pytest.approx(1 - 0.025 ** (1 / 5000))
    low = 1e-4 * recall.low / (1e-4 * recall.low + (1 - 1e-4) * false_rate.high)
    assert (found["precision"], found["precision_low"]) == pytest.approx((1, low))
    nothing = describe_rates(Rates(0, 50, 0, 5000), 0.1)
    assert np.isnan(nothing["precision"])
    assert nothing["precision_low"] == 0


def test_the_threshold_is_the_lowest_that_shows_the_precision():
    positive = np.repeat([True, False], [200, 4000])
    score = np.concatenate([np.linspace(1, 0.5, 200), np.linspace(0.6, 0, 4000)])
    threshold = threshold_of_precision(score, positive, 0.05, 0.9)
    shown = describe_rates(count_rates(score, positive, threshold), 0.05)["precision_low"]
    lower = score[positive & (score < threshold)].max()
    assert shown >= 0.9 > describe_rates(count_rates(score, positive, lower), 0.05)["precision_low"]
    assert 0.598 < threshold < 0.601


@pytest.mark.parametrize(
    ("prevalence", "n_false", "message"),
    [
        (1e-4, 0, r"0\.9 at a prevalence of 0\.0001 .* takes (\d+,\d+) negatives .* and 5,000 are held out.* 0\.11"),
        (0.01, 40, r"40 of 5,000 negatives lie above half of the 150 positives\. They show 0\.\d\d at best"),
    ],
)
def test_a_precision_that_the_negatives_cannot_show_is_refused_and_says_how_many_would(prevalence, n_false, message):
    positive = np.repeat([True, False], [150, 5000])
    score = np.concatenate([np.linspace(0.9, 1, 150), np.full(n_false, 2.0), np.zeros(5000 - n_false)])
    with pytest.raises(ValueError, match=message) as error:
        threshold_of_precision(score, positive, prevalence, 0.9)
    if n_false == 0:  # with that many, none found, the precision is shown
        n = int(re.search(r"takes ([\d,]+)", str(error.value))[1].replace(",", ""))
        more = describe_rates(Rates(150, 150, 0, n), prevalence), describe_rates(Rates(150, 150, 0, n - 1), prevalence)
        assert more[0]["precision_low"] >= 0.9 > more[1]["precision_low"]


def test_the_prevalence_is_corrected_by_hand_and_its_interval_holds_for_all_groups():
    rates = Rates(80, 100, 10, 1000)
    estimate, low, high = estimate_prevalence(np.array([50.0, 0]), np.array([1000.0, np.nan]), rates)
    assert estimate[0] == pytest.approx((0.05 - 0.01) / (0.8 - 0.01))
    level = 1 - 0.05 / 3
    share = binomtest(50, 1000).proportion_ci(1 - 0.05 / 6, "exact")
    recall, false_rate = (binomtest(k, n).proportion_ci(level, "exact") for k, n in ((80, 100), (10, 1000)))
    assert low[0] == pytest.approx((share.low - false_rate.high) / (recall.high - false_rate.high))
    assert high[0] == pytest.approx((share.high - false_rate.low) / (recall.low - false_rate.low))
    assert np.isnan([estimate[1], low[1], high[1]]).all()
    unknown = estimate_prevalence(np.array([5.0]), np.array([10.0]), Rates(1, 10, 90, 100))
    assert np.isnan(unknown[0]).all()
    assert (unknown[1][0], unknown[2][0]) == (0, 1)


def test_bounds_hold_in_repeated_samples_whatever_the_threshold():
    """Normal scores two standard deviations apart: the true rates are known."""
    rng = np.random.default_rng(0)
    prevalence, n_repeats = 0.1, 400
    failed = missed = refused = 0
    positive = np.repeat([True, False], [60, 3000])
    for _ in range(n_repeats):
        score = rng.normal(np.where(positive, 2.5, 0))
        try:
            threshold = threshold_of_precision(score, positive, prevalence, 0.6)
        except ValueError:
            refused += 1
            continue
        recall, false_rate = norm.sf(threshold - 2.5), norm.sf(threshold)
        failed += prevalence * recall / (prevalence * recall + (1 - prevalence) * false_rate) < 0.6
        rates = count_rates(score, positive, threshold)
        share = prevalence * recall + (1 - prevalence) * false_rate
        _, low, high = estimate_prevalence(np.array([rng.binomial(2000, share)]), np.array([2000]), rates)
        missed += not low[0] <= prevalence <= high[0]
    assert refused / n_repeats < 0.2
    assert failed / n_repeats <= 0.05
    assert missed / n_repeats <= 0.05


def test_another_prior_follows_bayes():
    of_positives, of_negatives, before, after = 0.6, 0.2, 0.5, 0.02
    posterior = [q * of_positives / (q * of_positives + (1 - q) * of_negatives) for q in (before, after)]
    assert shift_prior(np.array(posterior[0]), before, after) == pytest.approx(posterior[1])

"""Temperature, reliability and thresholds against hand-computed cases and plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from univerce.tl.labels.calibration import (
    at_threshold,
    choose_threshold,
    cross_fitted,
    expected_error,
    fit_temperature,
    reliability,
    risk_coverage,
    soften,
    thin,
)


def random_case(seed: int, n: int = 200, n_classes: int = 4, scale: float = 3.0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(n_classes, size=n)
    scores = rng.normal(size=(n, n_classes))
    scores[np.arange(n), truth] += 1
    return log_softmax(scale * scores, axis=1), truth


@pytest.mark.parametrize("odds, n_right", [(4.0, 75), (0.5, 20), (9.0, 51)])
def test_the_temperature_of_equal_odds_follows_from_the_accuracy(odds, n_right):
    """All cells have the same odds for the first class, so exp(log(odds) / T) must be the odds that are observed."""
    log_proba = np.tile(log_softmax([np.log(odds), 0.0]), (100, 1))
    truth = np.repeat([0, 1], [n_right, 100 - n_right])
    expected = np.log(odds) / np.log(n_right / (100 - n_right))
    assert fit_temperature(log_proba, truth) == pytest.approx(expected, rel=1e-9)
    assert soften(log_proba, expected)[0, 0] == pytest.approx(n_right / 100)


@pytest.mark.parametrize("seed", range(4))
def test_the_temperature_has_the_lowest_log_loss(seed):
    log_proba, truth = random_case(seed, scale=[0.3, 1, 3, 10][seed])

    def loss(log_t: float) -> float:
        return -log_softmax(log_proba / np.exp(log_t), axis=1)[np.arange(len(truth)), truth].mean()

    best = minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10})
    assert fit_temperature(log_proba, truth) == pytest.approx(np.exp(best.x), rel=1e-5)


def test_an_impossible_class_does_not_count():
    log_proba, truth = random_case(0)
    wider = np.hstack([log_proba, np.full((len(truth), 1), -np.inf)])
    assert fit_temperature(wider, truth) == fit_temperature(log_proba, truth)
    assert (soften(wider, 2.0)[:, -1] == 0).all()


def test_without_errors_the_confidence_follows_the_rule_of_succession():
    log_proba, _ = random_case(0)
    temperature = fit_temperature(log_proba, log_proba.argmax(axis=1))
    assert soften(log_proba, temperature).max(axis=1).mean() == pytest.approx(201 / 202)
    assert soften(log_proba, fit_temperature(log_proba, log_proba.argmin(axis=1))).max() < 0.26


def test_each_fold_has_the_temperature_of_the_other_folds():
    log_proba, truth = random_case(1)
    folds = np.random.default_rng(0).integers(3, size=len(truth))
    found = cross_fitted(log_proba, truth, folds)
    for i in range(0, len(truth), 17):
        others = folds != folds[i]
        expected = soften(log_proba[[i]], fit_temperature(log_proba[others], truth[others]))
        np.testing.assert_allclose(found[[i]], expected)


def test_reliability_by_hand():
    table = reliability(np.array([0.0, 0.5, 0.45, 0.9, 1.0, 0.51]), np.array([0, 1, 0, 1, 1, 1]), n_bins=2)
    assert table["n_cells"].tolist() == [3, 3]
    np.testing.assert_allclose(table["confidence"], [0.95 / 3, 2.41 / 3])
    np.testing.assert_allclose(table["accuracy"], [1 / 3, 1])
    assert expected_error(table) == pytest.approx((abs(0.95 / 3 - 1 / 3) + abs(2.41 / 3 - 1)) / 2)


def test_reliability_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    confidence = np.round(rng.random(300), 2)
    confidence = confidence[confidence > 0.3]
    right = rng.random(len(confidence)) < confidence
    table = reliability(confidence, right)
    gap = 0.0
    for k, (low, high) in enumerate(zip(np.linspace(0, 1, 11)[:-1], np.linspace(0, 1, 11)[1:], strict=True)):
        here = [i for i, c in enumerate(confidence) if low < c <= high]
        assert table["n_cells"].iloc[k] == len(here)
        if here:
            gap += abs(np.mean(confidence[here]) - np.mean(right[here])) * len(here) / len(confidence)
    assert table["confidence"].isna().tolist() == (table["n_cells"] == 0).tolist()
    assert expected_error(table) == pytest.approx(gap)


def plain_curve(values: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    rows = []
    for threshold in sorted({v for v in values.ravel() if not np.isnan(v)}, reverse=True):
        answers = [
            next((r for v, r in zip(*cell, strict=True) if v >= threshold), None)
            for cell in zip(values, right, strict=True)
        ]
        given = [a for a in answers if a is not None]
        if given:
            rows.append((threshold, len(given) / len(values), np.mean(given)))
    return pd.DataFrame(rows, columns=["threshold", "coverage", "accuracy"])


@pytest.mark.parametrize("n_steps", [1, 2, 5])
@pytest.mark.parametrize("digits", [1, 6], ids=["with ties", "without ties"])
def test_risk_and_coverage_equal_a_plain_loop(n_steps, digits):
    rng = np.random.default_rng(n_steps)
    values = np.round(rng.random((60, n_steps)), digits)
    values[rng.random(values.shape) < 0.2] = np.nan
    right = rng.random(values.shape) < 0.6
    found, expected = risk_coverage(values, right), plain_curve(values, right)
    # Thresholds at which no label changes are not listed.
    at = np.searchsorted(-found["threshold"].to_numpy(), -expected["threshold"].to_numpy(), side="right") - 1
    assert (at >= 0).all()
    assert set(found["threshold"]) <= set(expected["threshold"])
    np.testing.assert_allclose(found[["coverage", "accuracy"]].to_numpy()[at], expected[["coverage", "accuracy"]])


def test_a_threshold_by_hand():
    curve = risk_coverage(
        np.array([[0.9], [0.8], [0.8], [0.6], [0.2]]), np.array([[1], [1], [0], [1], [0]], dtype=bool)
    )
    assert curve["threshold"].tolist() == [0.9, 0.8, 0.6, 0.2]
    np.testing.assert_allclose(curve["coverage"], [0.2, 0.6, 0.8, 1])
    np.testing.assert_allclose(curve["accuracy"], [1, 2 / 3, 3 / 4, 3 / 5])
    assert at_threshold(curve, 0.7) == {"coverage_at_threshold": 0.6, "accuracy_at_threshold": 2 / 3}
    assert at_threshold(curve, 0.2) == {"coverage_at_threshold": 1.0, "accuracy_at_threshold": 0.6}
    assert at_threshold(curve, 0.95)["coverage_at_threshold"] == 0
    assert np.isnan([at_threshold(curve, 0.95)["accuracy_at_threshold"], *at_threshold(curve, np.nan).values()]).all()
    assert [choose_threshold(curve, accuracy=a) for a in (0.75, 0.7, 1.0, 0.1)] == [0.6, 0.6, 0.9, 0.2]
    assert [choose_threshold(curve, coverage=c) for c in (0.5, 0.6, 0.61, 1.0)] == [0.8, 0.8, 0.6, 0.2]
    assert choose_threshold(curve, accuracy=0.75, min_coverage=0.8) == 0.6
    with pytest.raises(ValueError, match=r"the best is 0.750, at a coverage of 0.800"):
        choose_threshold(curve, accuracy=0.9, min_coverage=0.3)


def test_a_threshold_out_of_reach_is_an_error_with_the_best_one():
    curve = risk_coverage(np.array([[0.9], [0.8], [np.nan]]), np.array([[False], [True], [True]]))
    with pytest.raises(ValueError, match=r"accuracy=0.9 is out of reach .* the best is 0.500, at a coverage of 0.667"):
        choose_threshold(curve, accuracy=0.9)
    with pytest.raises(ValueError, match=r"coverage=0.9 is out of reach: at most 0.667"):
        choose_threshold(curve, coverage=0.9)


def test_a_thinned_curve_keeps_its_ends():
    curve = risk_coverage(np.random.default_rng(0).random((1000, 1)), np.ones((1000, 1), dtype=bool))
    short = thin(curve, 50)
    assert len(short) == 50
    assert short.iloc[[0, -1]].to_numpy().tolist() == curve.iloc[[0, -1]].to_numpy().tolist()
    assert len(thin(curve.iloc[:3], 50)) == 3

"""Temperature, reliability and thresholds against hand-computed cases and plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from univerce.tl.labels.calibration import (
    Calibration,
    cross_fitted,
    expected_error,
    fit_temperature,
    reliability,
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
    assert softmax(log_proba / expected, axis=1)[0, 0] == pytest.approx(n_right / 100)


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
    assert (softmax(wider / 2.0, axis=1)[:, -1] == 0).all()


def test_without_errors_the_confidence_follows_the_rule_of_succession():
    log_proba, _ = random_case(0)
    temperature = fit_temperature(log_proba, log_proba.argmax(axis=1))
    assert softmax(log_proba / temperature, axis=1).max(axis=1).mean() == pytest.approx(201 / 202)
    assert softmax(log_proba / fit_temperature(log_proba, log_proba.argmin(axis=1)), axis=1).max() < 0.26


def test_each_fold_has_the_temperature_of_the_other_folds():
    log_proba, truth = random_case(1)
    folds = np.random.default_rng(0).integers(3, size=len(truth))
    found = cross_fitted(log_proba, truth, folds)
    for i in range(0, len(truth), 17):
        others = folds != folds[i]
        expected = softmax(log_proba[[i]] / fit_temperature(log_proba[others], truth[others]), axis=1)
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


def test_weights_count_cells_more_than_once():
    rng = np.random.default_rng(0)
    confidence, weights = rng.random(50), rng.integers(1, 4, size=50)
    right = rng.random(50) < confidence
    again = reliability(confidence.repeat(weights), right.repeat(weights))
    found = reliability(confidence, right, weights=weights.astype(float))
    columns = ["share", "confidence", "accuracy"]
    pd.testing.assert_frame_equal(found[columns], again[columns])
    assert expected_error(found) == pytest.approx(expected_error(again))


def test_biases_repair_a_prior_that_was_wrong():
    """Log-probabilities of two known normal distributions at equal shares; the cells have shares of 0.9 and 0.1."""
    rng = np.random.default_rng(0)
    truth = (rng.random(20000) < 0.1).astype(int)
    x = rng.normal(size=20000) + 1.5 * truth
    likelihood = -np.square(x[:, None] - [0, 1.5]) / 2
    log_proba = 3 * log_softmax(likelihood, axis=1)
    expected = softmax(likelihood + np.log([0.9, 0.1]), axis=1)
    found = Calibration.fit(log_proba, truth, by_class=True)
    assert np.abs(found(log_proba) - expected).mean() < 0.01
    assert np.abs(softmax(log_proba / found.temperature, axis=1) - expected).mean() > 0.05


def test_factors_and_biases_have_the_lowest_penalized_loss():
    log_proba, truth = random_case(2, n=60)
    found = Calibration.fit(log_proba, truth, by_class=True)
    ratio = (log_proba - log_proba.max(axis=1, keepdims=True)) / fit_temperature(log_proba, truth)

    def loss(values: np.ndarray) -> float:
        log_p = log_softmax(ratio * np.exp(values[:4]) + values[4:], axis=1)
        return np.square(values[4:]).sum() / 2 + 2 * np.square(values[:4]).sum() - log_p[np.arange(60), truth].sum()

    best = minimize(loss, np.zeros(8), method="Powell", options={"maxiter": 20000, "ftol": 1e-12})
    assert loss(np.append(np.log(found.slope), found.bias)) <= best.fun + 1e-3
    np.testing.assert_allclose(found(log_proba), softmax(ratio * found.slope + found.bias, axis=1))


def test_labels_without_errors_need_one_temperature():
    log_proba, _ = random_case(0)
    found = Calibration.fit(log_proba, log_proba.argmax(axis=1), by_class=True)
    assert (found.bias == 0).all()
    assert (found.slope == 1).all()
    wider = np.hstack([log_proba, np.full((len(log_proba), 1), -np.inf)])
    assert (found.__class__.fit(wider, wider.argmin(axis=1) * 0, by_class=True)(wider)[:, -1] == 0).all()

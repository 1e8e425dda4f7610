"""Rejection of uncertain cells against plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from univerce.tl.labels.rejection import at_threshold, choose_threshold, cross_threshold, risk_coverage, thin


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
    assert [choose_threshold(curve, accuracy=a) for a in (0.75, 0.7, 1.0, 0.1)] == [0.6, 0.6, 0.9, 0.2]
    assert [choose_threshold(curve, coverage=c) for c in (0.5, 0.6, 0.61, 1.0)] == [0.8, 0.8, 0.6, 0.2]
    assert choose_threshold(curve, accuracy=0.75, min_coverage=0.8) == 0.6
    with pytest.raises(ValueError, match=r"the best is 0.750, at a coverage of 0.800"):
        choose_threshold(curve, accuracy=0.9, min_coverage=0.3)


def test_weights_count_cells_more_than_once():
    rng = np.random.default_rng(0)
    values, right = np.round(rng.random((40, 3)), 1), rng.random((40, 3)) < 0.6
    weights = rng.integers(1, 5, size=40)
    again = risk_coverage(values.repeat(weights, axis=0), right.repeat(weights, axis=0))
    pd.testing.assert_frame_equal(risk_coverage(values, right, weights.astype(float)), again)


def test_labels_and_terms_are_scored_apart_at_a_threshold_by_hand():
    values = np.array([[0.9, 0.95], [0.5, 0.9], [0.4, 0.8], [0.3, 0.4], [0.8, np.nan]])
    right = np.array([[1, 1], [0, 1], [0, 0], [1, 1], [0, 0]], dtype=bool)
    weights = np.array([1.0, 2.0, 1.0, 1.0, 1.0])
    found = at_threshold(values, right, np.full(5, 0.7), weights)
    assert found == pytest.approx(
        {
            "coverage_at_threshold": 5 / 6, "accuracy_at_threshold": 3 / 5, "labels_coverage_at_threshold": 2 / 6,
            "labels_accuracy_at_threshold": 1 / 2, "terms_coverage_at_threshold": 3 / 6,
            "terms_accuracy_at_threshold": 2 / 3,
        }
    )  # fmt: skip
    assert at_threshold(values, right, np.full(5, np.nan), weights)["labels_coverage_at_threshold"] == 1
    none = at_threshold(values, right, np.full(5, np.inf), weights)
    assert none["coverage_at_threshold"] == 0
    assert np.isnan(none["accuracy_at_threshold"])


def test_the_threshold_of_a_cell_comes_from_other_folds():
    rng = np.random.default_rng(0)
    values, folds = rng.random((90, 1)), np.arange(90) % 3
    right = rng.random((90, 1)) < values
    found = cross_threshold(values, right, np.ones(90), folds, {"accuracy": 0.8}, 0.05)
    for fold in range(3):
        others = folds != fold
        curve = risk_coverage(values[others], right[others])
        assert (found[~others] == choose_threshold(curve, accuracy=0.8, min_coverage=0.05)).all()
    assert np.isinf(cross_threshold(values, ~right & right, np.ones(90), folds, {"accuracy": 0.8}, 0.05)).all()


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

"""Composition of a query, estimated by EM: simulation with known shares and a plain maximum likelihood."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from univerce.tl.labels.prior import estimate_shares, fitted_shares, shifted, target_shares

FITTED = np.array([0.5, 0.3, 0.2])


def posterior(shares: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """True probabilities at the fitted shares of cells of three normal types, drawn at other shares."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, size=n, p=shares)
    x = rng.normal(size=n) + 2.0 * truth
    likelihood = np.exp(-np.square(x[:, None] - 2.0 * np.arange(3)) / 2)
    return likelihood * FITTED / (likelihood * FITTED).sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.05, 0.05, 0.9), (0.9, 0.1, 0.0)])
def test_known_shares_are_found(shares):
    proba, truth = posterior(np.array(shares), 20_000, 0)
    found = estimate_shares(proba, FITTED, FITTED)
    observed = np.bincount(truth, minlength=3) / len(truth)
    np.testing.assert_allclose(found, observed, atol=0.015)
    right = shifted(proba, found / FITTED)
    assert (right.argmax(axis=1) == truth).mean() >= (proba.argmax(axis=1) == truth).mean() - 0.002


def test_the_estimate_has_the_highest_likelihood():
    proba, _ = posterior(np.array([0.2, 0.8, 0.0]), 500, 1)
    pair = proba[:, :2] / proba[:, :2].sum(axis=1, keepdims=True)
    fitted = np.array([0.6, 0.4])

    def loss(share: float) -> float:
        return -np.log(pair @ (np.array([share, 1 - share]) / fitted)).sum()

    best = minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-9})
    assert estimate_shares(pair, fitted, fitted)[0] == pytest.approx(best.x, abs=2e-3)


def test_shares_by_hand():
    classes = pd.DataFrame({"n_cells": [600, 300, 100], "n_used": [100, 100, 50]}, index=["a", "b", "c"])
    np.testing.assert_allclose(target_shares(classes, "reference"), [0.6, 0.3, 0.1])
    np.testing.assert_allclose(target_shares(classes, "uniform"), [1 / 3] * 3)
    np.testing.assert_allclose(target_shares(classes, "query", ["a", "c"]), [6 / 7, 0, 1 / 7])
    np.testing.assert_allclose(fitted_shares(classes), [0.4, 0.4, 0.2])
    np.testing.assert_allclose(shifted(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([3.0, 0.0])), [[1, 0], [1, 0]])

"""Calibration of probabilities on held-out cells, and its error.

All of it needs cells that the classifier was not fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize
from scipy.special import log_softmax, softmax

N_BINS = 10
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 1e-4, 1e4


@dataclass(frozen=True, eq=False)
class Calibration:
    """Bias-corrected temperature scaling (Alexandari et al. 2020, section 3)."""

    temperature: float
    bias: np.ndarray
    """``[n_classes]`` added to the log-probabilities; zero for a classifier that needs none."""

    @classmethod
    def fit(cls, log_proba: np.ndarray, truth: np.ndarray, *, biased: bool) -> Calibration:
        """Find the temperature, and with ``biased`` the bias, of the lowest log loss on held-out cells.

        Biases have a normal prior of unit variance, so that a class with few cells keeps its own. Where all cells are
        correct they are zero. Arguments are as in :func:`fit_temperature`.
        """
        start = fit_temperature(log_proba, truth)
        bias = np.zeros(log_proba.shape[1])
        if not biased or (log_proba.argmax(axis=1) == truth).all():
            return cls(start, bias)
        possible = np.isfinite(log_proba)
        shifted = np.where(possible, log_proba - log_proba.max(axis=1, keepdims=True), 0.0)
        n, cells = len(truth), np.arange(len(truth))

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            logit = np.where(possible, values[0] * shifted + values[1:], -np.inf)
            log_p = log_softmax(logit, axis=1)
            gap = np.exp(log_p)
            gap[cells, truth] -= 1
            slope = np.append(np.sum(gap * shifted), gap.sum(axis=0) + values[1:])
            return (np.square(values[1:]).sum() / 2 - log_p[cells, truth].sum()) / n, slope / n

        bounds = [(1 / _MAX_TEMPERATURE, 1 / _MIN_TEMPERATURE), *[(None, None)] * len(bias)]
        found = minimize(loss, np.append(1 / start, bias), jac=True, method="L-BFGS-B", bounds=bounds)
        return cls(1 / float(found.x[0]), found.x[1:])

    def __call__(self, log_proba: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """``[n, n_classes]`` probabilities; ``shift`` ``[n_classes]`` is the log of a change of the prior."""
        return softmax(log_proba / self.temperature + self.bias + shift, axis=1)


def soften(log_proba: np.ndarray, temperature: float) -> np.ndarray:
    """``[n, n_classes]`` probabilities proportional to ``exp(log_proba / temperature)``."""
    return softmax(log_proba / temperature, axis=1)


def fit_temperature(log_proba: np.ndarray, truth: np.ndarray) -> float:
    """Find the temperature with the lowest log loss (Guo et al. 2017, section 4.2).

    The loss is convex in ``1 / temperature``. Its slope, the mean of the expected minus the true log-probability, is
    zero at the minimum. If (nearly) all cells are correct, the minimum is at zero, where every label is certain. The
    mean confidence is then kept at ``(n + 1) / (n + 2)``, the rule of succession for ``n`` correct cells, which the
    temperature scaling of scikit-learn does not do. ``log_proba`` ``[n, n_classes]`` is of held-out cells, minus
    infinity for an impossible class; ``truth`` ``[n]`` is the true class.
    """
    n = len(truth)
    shifted = log_proba - log_proba.max(axis=1, keepdims=True)
    finite = np.where(np.isfinite(shifted), shifted, 0.0)
    true = shifted[np.arange(n), truth]

    def slope(sharpness: float) -> float:
        return float(np.mean(np.sum(softmax(sharpness * shifted, axis=1) * finite, axis=1) - true))

    def excess(sharpness: float) -> float:
        return float(softmax(sharpness * shifted, axis=1).max(axis=1).mean()) - (n + 1) / (n + 2)

    low, high = 1 / _MAX_TEMPERATURE, 1 / _MIN_TEMPERATURE
    if slope(low) >= 0:
        return _MAX_TEMPERATURE
    best = high if slope(high) <= 0 else brentq(slope, low, high, xtol=1e-14, rtol=1e-12)
    if excess(low) < 0 < excess(best):
        best = brentq(excess, low, best, xtol=1e-14, rtol=1e-12)
    return 1 / best


def cross_fitted(log_proba: np.ndarray, truth: np.ndarray, folds: np.ndarray, *, biased: bool = False) -> np.ndarray:
    """``[n, n_classes]`` probabilities, each fold with the calibration of the other folds."""
    out = np.empty(log_proba.shape)
    for fold in np.unique(folds):
        here = folds == fold
        others = ~here if not here.all() else here
        out[here] = Calibration.fit(log_proba[others], truth[others], biased=biased)(log_proba[here])
    return out


def reliability(
    confidence: np.ndarray, correct: np.ndarray, n_bins: int = N_BINS, *, weights: np.ndarray | None = None
) -> pd.DataFrame:
    """Compare the mean ``confidence`` with the ``accuracy`` in equally wide bins of confidence, NaN for empty ones.

    A bin includes its upper end. ``weights`` ``[n]`` count a cell more or less than once; ``share`` is that of all
    cells, so weighted.
    """
    edges = np.linspace(0, 1, n_bins + 1)
    where = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    weights = np.ones(len(confidence)) if weights is None else weights
    mass = np.bincount(where, weights=weights, minlength=n_bins)
    sums = [np.bincount(where, weights=weights * v, minlength=n_bins) for v in (confidence, correct)]
    means = [np.divide(s, mass, out=np.full(n_bins, np.nan), where=mass > 0) for s in sums]
    return pd.DataFrame(
        {
            "low": edges[:-1], "high": edges[1:], "n_cells": np.bincount(where[weights > 0], minlength=n_bins),
            "share": mass / max(mass.sum(), 1e-300), "confidence": means[0], "accuracy": means[1],
        },
        index=[str(i) for i in range(n_bins)],
    )  # fmt: skip


def expected_error(table: pd.DataFrame) -> float:
    """Compute the expected calibration error of a :func:`reliability` table."""
    gap = (table["confidence"] - table["accuracy"]).abs().fillna(0)
    return float(gap @ table["share"])

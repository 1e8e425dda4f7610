"""Calibration of probabilities on held-out cells, and its error.

All of it needs cells that the classifier was not fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import log_softmax, softmax

from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows

N_BINS = 10
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 1e-4, 1e4
_SLOPE_VARIANCE = 0.25
_LEAST = -700.0  # the exponential is not zero


@dataclass(frozen=True, eq=False)
class Calibration:
    """One temperature, or vector scaling (Guo et al. 2017, section 4.2): a factor and a bias for each class."""

    temperature: float
    slope: np.ndarray
    """``[n_classes]`` factors of the log-probabilities, 1 for a classifier that needs none."""
    bias: np.ndarray
    """``[n_classes]`` added to them, or 0."""

    @classmethod
    def fit(cls, log_proba: np.ndarray, truth: np.ndarray, *, by_class: bool) -> Calibration:
        """Find the temperature, and then the factors and biases, of the lowest log loss on held-out cells.

        Biases have a normal prior of unit variance and the logarithms of the factors one of a quarter, so that a class
        with few cells keeps the temperature of all. Where all cells are correct, nothing else is known. Arguments are
        as in :func:`fit_temperature`.
        """
        n_classes = log_proba.shape[1]
        plain = cls(fit_temperature(log_proba, truth), np.ones(n_classes), np.zeros(n_classes))
        if not by_class or (log_proba.argmax(axis=1) == truth).all():
            return plain
        scaled = plain._scaled(log_proba)
        possible, finite = np.isfinite(scaled), np.where(np.isfinite(scaled), scaled, 0.0)
        cells, n = np.arange(len(truth)), len(truth)

        def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
            log_slope, bias = np.split(values, 2)
            log_p = log_softmax(np.where(possible, finite * np.exp(log_slope) + bias, -np.inf), axis=1)
            gap = np.exp(log_p)
            gap[cells, truth] -= 1
            of_slope = np.sum(gap * finite, axis=0) * np.exp(log_slope) + log_slope / _SLOPE_VARIANCE
            penalty = (np.square(bias).sum() + np.square(log_slope).sum() / _SLOPE_VARIANCE) / 2
            return (penalty - log_p[cells, truth].sum()) / n, np.append(of_slope, gap.sum(axis=0) + bias) / n

        from scipy.optimize import minimize  # slow to import

        found = minimize(loss, np.zeros(2 * n_classes), jac=True, method="L-BFGS-B")
        return cls(plain.temperature, np.exp(found.x[:n_classes]), found.x[n_classes:])

    def __call__(self, log_proba: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """``[n, n_classes]`` probabilities; ``shift`` ``[n_classes]`` is the log of a change of the prior."""
        return softmax(self._scaled(log_proba) * self.slope + self.bias + shift, axis=1)

    def _scaled(self, log_proba: np.ndarray) -> np.ndarray:
        """Log of the ratio to the best class, divided by the temperature; minus infinity for an impossible class."""
        ratio = (log_proba - log_proba.max(axis=1, keepdims=True)) / self.temperature
        return np.where(np.isfinite(log_proba), np.maximum(ratio, _LEAST), -np.inf)


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
    true = shifted[np.arange(n), truth]
    blocks = [shifted[rows] for rows in blocks_of_rows(n, ROUNDED_ROWS)]  # few temporary arrays of cells by classes

    def expected(block: np.ndarray, sharpness: float) -> np.ndarray:
        return np.sum(softmax(sharpness * block, axis=1) * np.where(np.isfinite(block), block, 0.0), axis=1)

    def slope(sharpness: float) -> float:
        return float(np.mean(np.concatenate([expected(block, sharpness) for block in blocks]) - true))

    def excess(sharpness: float) -> float:
        best = [softmax(sharpness * block, axis=1).max(axis=1) for block in blocks]
        return float(np.concatenate(best).mean()) - (n + 1) / (n + 2)

    from scipy.optimize import brentq

    low, high = 1 / _MAX_TEMPERATURE, 1 / _MIN_TEMPERATURE
    if slope(low) >= 0:
        return _MAX_TEMPERATURE
    best = high if slope(high) <= 0 else brentq(slope, low, high, xtol=1e-14, rtol=1e-12)
    if excess(low) < 0 < excess(best):
        best = brentq(excess, low, best, xtol=1e-14, rtol=1e-12)
    return 1 / best


def cross_fitted(log_proba: np.ndarray, truth: np.ndarray, folds: np.ndarray, *, by_class: bool = False) -> np.ndarray:
    """``[n, n_classes]`` probabilities, each fold with the calibration of the other folds."""
    out = np.empty(log_proba.shape)
    for fold in np.unique(folds):
        here = folds == fold
        others = ~here if not here.all() else here
        out[here] = Calibration.fit(log_proba[others], truth[others], by_class=by_class)(log_proba[here])
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
    return float((gap * table["share"]).sum())

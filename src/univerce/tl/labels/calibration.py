"""Calibration of probabilities on held-out cells: temperature, reliability, and the cost of rejecting cells.

All of it needs cells that the classifier was not fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import softmax

from univerce.embeddings.classifiers import Classifier
from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows

N_BINS = 10
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 1e-4, 1e4
_MAX_POINTS = 200
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Calibrated:
    """A classifier and the temperature of its probabilities."""

    model: Classifier
    temperature: float

    def known_proba(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``[n]`` rows with an embedding, and their probabilities ``[n_known, n_classes]`` in float64."""
        known = np.isfinite(block).all(axis=1)
        parts = [self.model.log_proba(block[rows][known[rows]]) for rows in blocks_of_rows(len(block), ROUNDED_ROWS)]
        return known, soften(np.concatenate(parts), self.temperature)


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


def cross_fitted(log_proba: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """``[n, n_classes]`` probabilities, each fold with the temperature of the other folds."""
    out = np.empty_like(log_proba)
    for fold in np.unique(folds):
        here = folds == fold
        others = ~here if not here.all() else here
        out[here] = soften(log_proba[here], fit_temperature(log_proba[others], truth[others]))
    return out


def reliability(confidence: np.ndarray, correct: np.ndarray, n_bins: int = N_BINS) -> pd.DataFrame:
    """Compare the mean ``confidence`` with the ``accuracy`` in equally wide bins of confidence, NaN for empty ones.

    A bin includes its upper end.
    """
    edges = np.linspace(0, 1, n_bins + 1)
    where = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    n = np.bincount(where, minlength=n_bins)
    sums = [np.bincount(where, weights=v, minlength=n_bins) for v in (confidence, correct)]
    means = [np.divide(s, n, out=np.full(n_bins, np.nan), where=n > 0) for s in sums]
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "n_cells": n, "confidence": means[0], "accuracy": means[1]},
        index=[str(i) for i in range(n_bins)],
    )


def expected_error(table: pd.DataFrame) -> float:
    """Compute the expected calibration error of a :func:`reliability` table."""
    gap = (table["confidence"] - table["accuracy"]).abs().fillna(0)
    return float(np.average(gap, weights=table["n_cells"]))


def risk_coverage(values: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """Compute the share of labeled cells and their accuracy at every threshold.

    ``values`` ``[n, n_candidates]`` are the confidences of the possible labels of a cell, the most specific first. A
    cell gets the first that reaches the threshold; NaN never does. ``correct`` ``[n, n_candidates]`` are the labels
    that are correct. The table has a row for every threshold that changes a label, the highest first.
    """
    n = len(values)
    values = np.where(np.isnan(values), -np.inf, values)
    best = np.maximum.accumulate(values, axis=1)
    counts = np.ones(values.shape, dtype=bool)
    counts[:, 1:] = values[:, 1:] > best[:, :-1]  # otherwise a more specific label comes first
    counts &= np.isfinite(values)
    # As the threshold falls, a cell gets its last label that counts first, then one after the other before it.
    cell, column = np.nonzero(counts)
    last = np.append(cell[1:] != cell[:-1], True)[: len(cell)]
    gained = correct[cell, column].astype(np.int64)
    gained[:-1] -= np.where(last[:-1], 0, gained[1:])
    threshold = values[cell, column]
    order = np.argsort(-threshold, kind="stable")
    threshold, n_covered, n_correct = threshold[order], np.cumsum(last[order]), np.cumsum(gained[order])
    ends = np.append(threshold[1:] != threshold[:-1], True)[: len(threshold)]
    return pd.DataFrame(
        {
            "threshold": threshold[ends],
            "coverage": n_covered[ends] / max(n, 1),
            "accuracy": n_correct[ends] / n_covered[ends],
        }
    )


def choose_threshold(
    curve: pd.DataFrame, *, accuracy: float | None = None, coverage: float | None = None, min_coverage: float = 0
) -> float:
    """Choose the threshold of a :func:`risk_coverage` curve that reaches an accuracy or a coverage.

    It is the lowest one with the accuracy, which labels most cells, or the highest one with the coverage. Accuracies
    at less than ``min_coverage`` come from too few cells and do not count. ``ValueError`` if there is none.
    """
    if accuracy is not None:
        curve = curve[curve["coverage"] >= min_coverage - _ROUNDING]
        enough = curve[curve["accuracy"] >= accuracy - _ROUNDING]
        if enough.empty:
            best = curve.iloc[int(curve["accuracy"].to_numpy().argmax())]
            raise ValueError(
                f"accuracy={accuracy} is out of reach on held-out cells of the reference: the best is "
                f"{best['accuracy']:.3f}, at a coverage of {best['coverage']:.3f}. Lower it."
            )
        return float(enough["threshold"].iloc[-1])
    enough = curve[curve["coverage"] >= float(coverage or 0) - _ROUNDING]
    if enough.empty:
        raise ValueError(f"coverage={coverage} is out of reach: at most {curve['coverage'].max():.3f} can be labeled.")
    return float(enough["threshold"].iloc[0])


def at_threshold(curve: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Read coverage and accuracy at a threshold of a :func:`risk_coverage` curve; NaN if no cell is labeled."""
    row = int((curve["threshold"] >= threshold).sum()) - 1
    at = curve.iloc[row] if row >= 0 else {"coverage": 0.0 if threshold > 0 else np.nan, "accuracy": np.nan}
    return {f"{name}_at_threshold": float(at[name]) for name in ("coverage", "accuracy")}


def thin(curve: pd.DataFrame, most: int = _MAX_POINTS) -> pd.DataFrame:
    """Keep at most ``most`` rows of a curve and both ends, with a text index."""
    rows = np.unique(np.linspace(0, len(curve) - 1, most).round().astype(int))
    kept = curve.iloc[rows]
    return kept.set_axis([str(i) for i in range(len(kept))])

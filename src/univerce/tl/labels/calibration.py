"""How sure is sure: temperature, reliability, and what rejecting the unsure cells buys.

Everything here is computed on cells that the classifier was not fitted on.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import softmax

N_BINS = 10
_COLDEST, _HOTTEST = 1e-4, 1e4
_MAX_POINTS = 200
_ROUNDING = 1e-12


def soften(log_proba: np.ndarray, temperature: float) -> np.ndarray:
    """``[n, n_classes]`` probabilities proportional to ``exp(log_proba / temperature)``."""
    return softmax(log_proba / temperature, axis=1)


def fit_temperature(log_proba: np.ndarray, truth: np.ndarray) -> float:
    """The temperature with the lowest log loss (Guo et al. 2017, section 4.2).

    The loss is convex in ``1 / temperature``; its slope, the mean over the cells of the expected minus the true
    log-probability, is zero at the minimum. When (nearly) no cell is wrong the minimum lies at zero, where everything
    is certain: then the mean confidence is held at ``(n + 1) / (n + 2)``, the rule of succession for ``n`` right cells.

    Parameters
    ----------
    log_proba
        ``[n, n_classes]`` of held-out cells; minus infinity for an impossible class, which is never the true one.
    truth
        ``[n]`` the true class.
    """
    n = len(truth)
    shifted = log_proba - log_proba.max(axis=1, keepdims=True)
    finite = np.where(np.isfinite(shifted), shifted, 0.0)
    true = shifted[np.arange(n), truth]

    def slope(sharpness: float) -> float:
        return float(np.mean(np.sum(softmax(sharpness * shifted, axis=1) * finite, axis=1) - true))

    def excess(sharpness: float) -> float:
        return float(softmax(sharpness * shifted, axis=1).max(axis=1).mean()) - (n + 1) / (n + 2)

    low, high = 1 / _HOTTEST, 1 / _COLDEST
    if slope(low) >= 0:
        return _HOTTEST
    best = high if slope(high) <= 0 else brentq(slope, low, high, xtol=1e-14, rtol=1e-12)
    if excess(low) < 0 < excess(best):
        best = brentq(excess, low, best, xtol=1e-14, rtol=1e-12)
    return 1 / best


def cross_fitted(log_proba: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """``[n, n_classes]`` probabilities whose temperature comes from the cells of the other folds."""
    out = np.empty_like(log_proba)
    for fold in np.unique(folds):
        here = folds == fold
        others = ~here if not here.all() else here
        out[here] = soften(log_proba[here], fit_temperature(log_proba[others], truth[others]))
    return out


def reliability(confidence: np.ndarray, right: np.ndarray, n_bins: int = N_BINS) -> pd.DataFrame:
    """Mean confidence beside accuracy in bins of confidence that are equally wide; empty bins hold NaN.

    Returns
    -------
    Columns ``low``, ``high``, ``n_cells``, ``confidence`` and ``accuracy``; a bin includes its upper end.
    """
    edges = np.linspace(0, 1, n_bins + 1)
    where = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    n = np.bincount(where, minlength=n_bins)
    sums = [np.bincount(where, weights=v, minlength=n_bins) for v in (confidence, right)]
    means = [np.divide(s, n, out=np.full(n_bins, np.nan), where=n > 0) for s in sums]
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "n_cells": n, "confidence": means[0], "accuracy": means[1]},
        index=[str(i) for i in range(n_bins)],
    )


def expected_error(table: pd.DataFrame) -> float:
    """Expected calibration error of a :func:`reliability` table: mean distance of confidence and accuracy."""
    gap = (table["confidence"] - table["accuracy"]).abs().fillna(0)
    return float(np.average(gap, weights=table["n_cells"]))


def risk_coverage(values: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """What is labeled, and how much of that is right, at every threshold.

    Parameters
    ----------
    values
        ``[n, n_steps]`` how sure each of the answers that a cell may get is, the most specific answer first. The cell
        gets the first whose value reaches the threshold, and none when no value does. NaN is no answer.
    right
        ``[n, n_steps]`` whether that answer is right.

    Returns
    -------
    Columns ``threshold`` (falling), ``coverage`` and ``accuracy``, a row for every threshold that changes anything.
    """
    n = len(values)
    values = np.where(np.isnan(values), -np.inf, values)
    best = np.maximum.accumulate(values, axis=1)
    counts = np.ones(values.shape, dtype=bool)
    counts[:, 1:] = values[:, 1:] > best[:, :-1]  # else a more specific answer is given
    counts &= np.isfinite(values)
    # As the threshold falls a cell first gets its last answer that counts, then one after the other before it.
    cell, step = np.nonzero(counts)
    last = np.append(cell[1:] != cell[:-1], True)[: len(cell)]
    gained = right[cell, step].astype(np.int64)
    gained[:-1] -= np.where(last[:-1], 0, gained[1:])
    threshold = values[cell, step]
    order = np.argsort(-threshold, kind="stable")
    threshold, covered, correct = threshold[order], np.cumsum(last[order]), np.cumsum(gained[order])
    ends = np.append(threshold[1:] != threshold[:-1], True)[: len(threshold)]
    return pd.DataFrame(
        {
            "threshold": threshold[ends],
            "coverage": covered[ends] / max(n, 1),
            "accuracy": correct[ends] / covered[ends],
        }
    )


def choose_threshold(
    curve: pd.DataFrame, *, accuracy: float | None = None, coverage: float | None = None, least_coverage: float = 0
) -> float:
    """The threshold of a :func:`risk_coverage` curve that gives an accuracy or a coverage.

    The lowest threshold whose accuracy suffices, so that most cells are labeled, or the highest one whose coverage
    does. An accuracy at less than ``least_coverage`` is that of too few cells to count.

    Raises
    ------
    ValueError
        When no threshold reaches the accuracy, or the coverage; the message says what can be had.
    """
    if accuracy is not None:
        curve = curve[curve["coverage"] >= least_coverage - _ROUNDING]
        enough = curve[curve["accuracy"] >= accuracy - _ROUNDING]
        if enough.empty:
            best = curve.iloc[int(curve["accuracy"].to_numpy().argmax())]
            raise ValueError(
                f"accuracy={accuracy} is out of reach on held-out cells of the reference: the best is "
                f"{best['accuracy']:.3f}, at a coverage of {best['coverage']:.3f}. Ask for less."
            )
        return float(enough["threshold"].iloc[-1])
    enough = curve[curve["coverage"] >= float(coverage or 0) - _ROUNDING]
    if enough.empty:
        raise ValueError(f"coverage={coverage} is out of reach: at most {curve['coverage'].max():.3f} can be labeled.")
    return float(enough["threshold"].iloc[0])


def at_threshold(curve: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Coverage and accuracy at a threshold of a :func:`risk_coverage` curve; NaN where nothing is labeled."""
    row = int((curve["threshold"] >= threshold).sum()) - 1
    at = curve.iloc[row] if row >= 0 else {"coverage": 0.0 if threshold > 0 else np.nan, "accuracy": np.nan}
    return {f"{name}_at_threshold": float(at[name]) for name in ("coverage", "accuracy")}


def thin(curve: pd.DataFrame, most: int = _MAX_POINTS) -> pd.DataFrame:
    """At most so many rows of a curve, its ends among them, under a text index."""
    rows = np.unique(np.linspace(0, len(curve) - 1, most).round().astype(int))
    kept = curve.iloc[rows]
    return kept.set_axis([str(i) for i in range(len(kept))])

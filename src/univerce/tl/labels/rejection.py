"""Rejection of uncertain cells: the share of labeled cells and their accuracy at a threshold of the confidence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

_MAX_POINTS = 200
_ROUNDING = 1e-12


def risk_coverage(values: np.ndarray, correct: np.ndarray, weights: np.ndarray | None = None) -> pd.DataFrame:
    """Compute the share of labeled cells and their accuracy at every threshold.

    ``values`` ``[n, n_candidates]`` are the confidences of the possible labels of a cell, the most specific first. A
    cell gets the first that reaches the threshold; NaN never does. ``correct`` ``[n, n_candidates]`` are the labels
    that are correct, ``weights`` ``[n]`` those of the cells. The table has a row for every threshold that changes a
    label, the highest first.
    """
    weights = np.ones(len(values)) if weights is None else weights
    values = np.where(np.isnan(values), -np.inf, values)
    best = np.maximum.accumulate(values, axis=1)
    counts = np.ones(values.shape, dtype=bool)
    counts[:, 1:] = values[:, 1:] > best[:, :-1]  # otherwise a more specific label comes first
    counts &= np.isfinite(values)
    # As the threshold falls, a cell gets its last label that counts first, then one after the other before it.
    cell, column = np.nonzero(counts)
    last = np.append(cell[1:] != cell[:-1], True)[: len(cell)]
    gained = correct[cell, column].astype(np.float64)
    gained[:-1] -= np.where(last[:-1], 0, gained[1:])
    threshold = values[cell, column]
    order = np.argsort(-threshold, kind="stable")
    covered, right = (np.cumsum((weights[cell] * step)[order]) for step in (last, gained))
    threshold = threshold[order]
    ends = np.append(threshold[1:] != threshold[:-1], True)[: len(threshold)]
    return pd.DataFrame(
        {
            "threshold": threshold[ends],
            "coverage": covered[ends] / max(weights.sum(), 1e-300),
            "accuracy": right[ends] / covered[ends],
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


def at_threshold(values: np.ndarray, correct: np.ndarray, cutoffs: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Share and accuracy of the cells that get a label, the class itself or another, each at its cutoff ``[n]``.

    Arguments are as in :func:`risk_coverage`. NaN where no cell is labeled.
    """
    enough = values >= np.where(np.isnan(cutoffs), -np.inf, cutoffs)[:, None]
    first = np.where(enough.any(axis=1), enough.argmax(axis=1), -1)
    right = correct[np.arange(len(values)), np.maximum(first, 0)]
    out = {}
    for name, chosen in (("", first >= 0), ("labels_", first == 0), ("terms_", first > 0)):
        mass = weights[chosen].sum()
        out[f"{name}coverage_at_threshold"] = float(mass / weights.sum())
        out[f"{name}accuracy_at_threshold"] = (
            float(weights[chosen] @ right[chosen] / mass) if mass > 0 else float("nan")
        )
    return out


def cross_threshold(
    values: np.ndarray, correct: np.ndarray, weights: np.ndarray, folds: np.ndarray, asked: Mapping[str, float],
    min_coverage: float,
) -> np.ndarray:  # fmt: skip
    """``[n]`` threshold of each cell, chosen on the other folds; infinite where it is out of reach there."""
    cutoffs = np.full(len(values), np.inf)
    for fold in np.unique(folds):
        here = folds == fold
        others = ~here if not here.all() else here
        curve = risk_coverage(values[others], correct[others], weights[others])
        try:
            cutoffs[here] = choose_threshold(curve, **asked, min_coverage=min_coverage)
        except ValueError:
            continue
    return cutoffs


def thin(curve: pd.DataFrame, most: int = _MAX_POINTS) -> pd.DataFrame:
    """Keep at most ``most`` rows of a curve and both ends, with a text index."""
    rows = np.unique(np.linspace(0, len(curve) - 1, most).round().astype(int))
    kept = curve.iloc[rows]
    return kept.set_axis([str(i) for i in range(len(kept))])

"""Precision and recall on held-out cells, at the prevalence of the cells to search. Arrays in, arrays out."""

from __future__ import annotations

import numpy as np
import pandas as pd

_MIN_FOUND = 10
_ROUNDING = 1e-12


def shift_prior(probability: np.ndarray, before: float, after: float) -> np.ndarray:
    """Turn probabilities for a prevalence ``before`` into those for ``after``.

    Bayes' rule: multiply the odds by the ratio of the prior odds (Saerens et al. 2002, equation 2.4).
    """
    gain = after / (1 - after) * (1 - before) / before
    return probability * gain / (probability * gain + 1 - probability)


def precision_recall(score: np.ndarray, positive: np.ndarray, prevalence: float) -> pd.DataFrame:
    """Precision and recall at every threshold, the precision at a prevalence.

    Returns
    -------
    A row per value of the score, the highest first: ``threshold``, ``precision``, ``recall``,
    ``false_positive_rate``, ``n_found``.
    """
    from sklearn.metrics import roc_curve

    false_rate, recall, threshold = (x[1:] for x in roc_curve(positive, score, drop_intermediate=False))
    true, false = prevalence * recall, (1 - prevalence) * false_rate
    n_found = np.rint(recall * positive.sum() + false_rate * (~positive).sum()).astype(int)
    curve = {"threshold": threshold, "precision": true / (true + false), "recall": recall}
    return pd.DataFrame(curve | {"false_positive_rate": false_rate, "n_found": n_found})


def threshold_of_precision(curve: pd.DataFrame, precision: float) -> float:
    """Lowest threshold of a :func:`precision_recall` curve with at least this precision.

    ``ValueError`` if no threshold that finds 10 held-out cells has it; the message states the best one.
    """
    counted = curve[curve["n_found"] >= min(_MIN_FOUND, curve["n_found"].iloc[-1])]
    enough = counted[counted["precision"] >= precision - _ROUNDING]
    if enough.empty:
        best = counted.loc[counted["precision"].idxmax()]
        raise ValueError(
            f"A precision of {precision} is out of reach on held-out cells. The best is {best['precision']:.3f}, at a "
            f"recall of {best['recall']:.3f}. Lower it, or pass more or purer positives."
        )
    return float(enough["threshold"].iloc[-1])


def scores_at(curve: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Precision, recall and false positive rate at a threshold; the precision is NaN if nothing is found."""
    row = int((curve["threshold"] >= threshold).sum()) - 1
    if row < 0:
        return {"precision": np.nan, "recall": 0.0, "false_positive_rate": 0.0}
    return {name: float(curve[name].iloc[row]) for name in ("precision", "recall", "false_positive_rate")}

"""Cells that are sought among others: thresholds, abundances, sums per donor. Arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

Z_95 = 1.959963984540054
FEWEST = 10
_ROUNDING = 1e-12


def wilson(count: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of the shares ``count / n`` (Wilson 1927); NaN where ``n`` is zero.

    Parameters
    ----------
    count, n
        ``[n_shares]``.
    """
    count, n = np.asarray(count, np.float64), np.where(np.asarray(n) > 0, n, np.nan).astype(np.float64)
    share, square = count / n, Z_95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = Z_95 / (1 + square / n) * np.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def shift_prior(probability: np.ndarray, before: float, after: float) -> np.ndarray:
    """Probabilities of a class that makes up ``after`` of the cells, from those for ``before``.

    Bayes' rule: the odds are multiplied by the ratio of the prior odds (Saerens et al. 2002, equation 2.4).
    """
    gain = after / (1 - after) * (1 - before) / before
    return probability * gain / (probability * gain + 1 - probability)


def precision_recall(score: np.ndarray, positive: np.ndarray, prevalence: float) -> pd.DataFrame:
    """Precision and recall at every threshold, for positives that make up ``prevalence`` of the cells.

    Parameters
    ----------
    score
        ``[n]``.
    positive
        ``[n]`` bool, of which both kinds occur.
    prevalence
        Share of the positives where the threshold will be used.

    Returns
    -------
    Columns ``threshold`` (falling), ``precision``, ``recall``, ``false_positive_rate`` and ``n_found``, a row for every
    value of the score.
    """
    order = np.argsort(-score, kind="stable")
    threshold, hit = score[order], positive[order]
    ends = np.append(threshold[1:] != threshold[:-1], True)
    recall = np.cumsum(hit)[ends] / hit.sum()
    false = np.cumsum(~hit)[ends] / (~hit).sum()
    right, wrong = prevalence * recall, (1 - prevalence) * false
    return pd.DataFrame(
        {
            "threshold": threshold[ends],
            "precision": right / (right + wrong),
            "recall": recall,
            "false_positive_rate": false,
            "n_found": np.flatnonzero(ends) + 1,
        }
    )


def threshold_of_precision(curve: pd.DataFrame, precision: float, *, fewest: int = FEWEST) -> float:
    """The lowest threshold of a :func:`precision_recall` curve that has a precision.

    Raises
    ------
    ValueError
        When none has that finds ``fewest`` held-out cells; the message says what can be had.
    """
    counted = curve[curve["n_found"] >= min(fewest, curve["n_found"].iloc[-1])]
    enough = counted[counted["precision"] >= precision - _ROUNDING]
    if enough.empty:
        best = counted.loc[counted["precision"].idxmax()]
        raise ValueError(
            f"precision={precision} is out of reach on held-out cells: the best is {best['precision']:.3f}, at a "
            f"recall of {best['recall']:.3f}. Ask for less, or give more or purer positives."
        )
    return float(enough["threshold"].iloc[-1])


def at(curve: pd.DataFrame, threshold: float) -> dict[str, float]:
    """Precision, recall and false positive rate at a threshold; a precision of nothing is NaN."""
    row = int((curve["threshold"] >= threshold).sum()) - 1
    if row < 0:
        return {"precision": np.nan, "recall": 0.0, "false_positive_rate": 0.0}
    return {name: float(curve[name].iloc[row]) for name in ("precision", "recall", "false_positive_rate")}


def average_precision(curve: pd.DataFrame) -> float:
    """Area under the steps of a :func:`precision_recall` curve, as scikit-learn defines it."""
    gained = np.diff(curve["recall"].to_numpy(), prepend=0.0)
    return float(np.sum(gained * curve["precision"].to_numpy()))


def sum_groups(X: Any, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """``[n_groups, n_genes]`` float64 sums of the rows of a matrix; rows with the code -1 are left out."""
    rows = np.flatnonzero(codes >= 0)
    collect = sp.csr_matrix((np.ones(len(rows)), (codes[rows], rows)), shape=(n_groups, X.shape[0]))
    out = collect @ (X.astype(np.float64) if hasattr(X, "astype") else X)
    return np.asarray(out.toarray() if sp.issparse(out) else out)


def log_cpm(sums: np.ndarray, prior_count: float = 2.0) -> np.ndarray:
    """log2 counts per million of sums of counts, as ``cpm(log=TRUE)`` of edgeR; NaN for groups without counts.

    A prior count, larger for larger groups, is added so that it means the same number per million in all of them: genes
    of few counts, whose ratios are mostly chance, are drawn toward no change.

    Parameters
    ----------
    sums
        ``[n_groups, n_genes]``.
    prior_count
        Added to a group of average size.
    """
    size = sums.sum(axis=1, keepdims=True)
    size = np.where(size > 0, size, np.nan)
    prior = prior_count * size / np.nanmean(size) if np.isfinite(size).any() else size
    return np.log2((sums + prior) / (size + 2 * prior) * 1e6)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values (Benjamini and Hochberg 1995); NaN stays NaN and counts as no test."""
    from scipy.stats import false_discovery_control

    out = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        out[known] = false_discovery_control(p[known])
    return out

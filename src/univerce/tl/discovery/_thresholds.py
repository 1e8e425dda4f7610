"""Precision, recall and prevalence from held-out cells, with what their number allows. Arrays in, arrays out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from univerce.embeddings.ranks import clopper_pearson

ALPHA = 0.05
"""One minus the confidence of all intervals."""
_STARTS = 0.25, 0.5, 0.75, 0.9


class Rates(NamedTuple):
    """Held-out cells at or above a threshold."""

    n_true: int
    n_positives: int
    n_false: int
    n_negatives: int


def shift_prior(probability: np.ndarray, before: float, after: float) -> np.ndarray:
    """Turn probabilities for a prevalence ``before`` into those for ``after``.

    Bayes' rule: multiply the odds by the ratio of the prior odds (Saerens et al. 2002, equation 2.4).
    """
    gain = after / (1 - after) * (1 - before) / before
    return probability * gain / (probability * gain + 1 - probability)


def average_precision(score: np.ndarray, positive: np.ndarray, prevalence: float) -> float:
    """Average precision if positives had this prevalence."""
    from sklearn.metrics import average_precision_score

    share = positive.mean()
    weight = np.where(positive, prevalence / share, (1 - prevalence) / (1 - share))
    return float(average_precision_score(positive, score, sample_weight=weight))


def precision_of(recall: np.ndarray | float, false_rate: np.ndarray | float, prevalence: float) -> np.ndarray:
    """Share of positives among found cells; NaN if nothing is found."""
    true, false = prevalence * np.asarray(recall, float), (1 - prevalence) * np.asarray(false_rate, float)
    with np.errstate(invalid="ignore"):
        return np.asarray(true / (true + false))


def count_rates(score: np.ndarray, positive: np.ndarray, threshold: float) -> Rates:
    """Count the held-out cells that a threshold finds."""
    found = score >= threshold
    n_true, n_found, n_positives = int((found & positive).sum()), int(found.sum()), int(positive.sum())
    return Rates(n_true, n_positives, n_found - n_true, len(positive) - n_positives)


def describe_rates(rates: Rates, prevalence: float) -> dict[str, float]:
    """Precision at a prevalence, recall and false positive rate, with 95 % Clopper-Pearson bounds.

    The lower bound of the precision is at the worse ends of both intervals, each of which fails in 2.5 %.
    """
    recall, false_rate = rates.n_true / rates.n_positives, rates.n_false / rates.n_negatives
    recall_low, recall_high = clopper_pearson(rates.n_true, rates.n_positives)
    false_low, false_high = clopper_pearson(rates.n_false, rates.n_negatives)
    return {
        "precision": float(precision_of(recall, false_rate, prevalence)),
        "precision_low": float(precision_of(recall_low, false_high, prevalence)),
        "recall": recall, "recall_low": float(recall_low), "recall_high": float(recall_high),
        "false_positive_rate": false_rate, "false_positive_rate_low": float(false_low),
        "false_positive_rate_high": float(false_high),
    }  # fmt: skip


def threshold_of_precision(score: np.ndarray, positive: np.ndarray, prevalence: float, precision: float) -> float:
    """Lowest threshold whose precision is at least this with 95 % confidence.

    ``ValueError`` if there is none; the message states how many negatives it takes, and the highest precision shown.
    """
    positives, negatives = np.sort(score[positive]), np.sort(score[~positive])
    threshold = np.unique(positives)[::-1]
    n_true, n_false = (len(x) - np.searchsorted(x, threshold, side="left") for x in (positives, negatives))
    counts = n_true, len(positives), n_false, len(negatives)
    if (last := _last_shown(*counts, prevalence, precision)) >= 0:
        return float(threshold[last])
    grid = np.arange(precision - 0.01, 0, -0.01)
    shown = next((p for p in grid if _last_shown(*counts, prevalence, p) >= 0), 0.0)
    recall_low, _ = clopper_pearson(len(positives), len(positives))
    needed = np.ceil(np.log(ALPHA / 2) / np.log1p(-_allowed_rate(recall_low, prevalence, precision)))
    above = n_false[(2 * n_true >= len(positives)).argmax()]
    found = f"{above:,} of {len(negatives):,} negatives lie above half of the {len(positives):,} positives"
    if needed > len(negatives):
        found = (
            f"with {len(positives):,} positives it takes {int(needed):,} negatives of which none is found, and "
            f"{len(negatives):,} are held out"
        )
    raise ValueError(
        f"A precision of {precision} at a prevalence of {prevalence:.2g} cannot be shown on the held-out cells: "
        f"{found}. They show {shown:.2f} at best. Lower the precision, or pass more or purer labeled cells as "
        "positives and negatives."
    )


def _last_shown(
    n_true: np.ndarray, n_positives: int, n_false: np.ndarray, n_negatives: int, prevalence: float, precision: float
) -> int:
    """Index of the last threshold, from the highest one, that has the precision with 95 % confidence; -1 for none.

    From each of a few thresholds on, the next lower one is tried as long as the last has the precision: a
    fixed-sequence test, which needs no correction for the number of thresholds (Angelopoulos et al. 2021). The starts
    share the error. They find 25, 50, 75 and 90 % of the positives; if there are too few negatives for these, the only
    start is the first with enough. The scores of negatives take no part in this choice.
    """
    starts = np.searchsorted(n_true, np.ceil(np.array(_STARTS) * n_positives))
    for alpha in (ALPHA / len(starts), ALPHA):
        recall_low, _ = clopper_pearson(n_true, n_positives, alpha)
        tolerated = _tolerated(_allowed_rate(recall_low, prevalence, precision), n_negatives, alpha)
        if alpha == ALPHA:
            starts = np.flatnonzero(tolerated >= 0)[:1]
        if (tolerated[starts] >= 0).all():
            break
    passed = np.append(n_false <= tolerated, False)
    ends = [start + int(passed[start:].argmin()) - 1 for start in starts if passed[start]]
    return max(ends, default=-1)


def _allowed_rate(recall: np.ndarray, prevalence: float, precision: float) -> np.ndarray:
    """False positive rate with which a recall gives the precision."""
    return np.minimum(prevalence * recall * (1 - precision) / (precision * (1 - prevalence)), 1 - 1e-9)


def _tolerated(rate: np.ndarray, n: int, alpha: float) -> np.ndarray:
    """Most false positives of ``n`` negatives whose Clopper-Pearson bound is at most a rate; -1 if none suffices."""
    from scipy.stats import binom

    return binom.ppf(alpha / 2, n, rate) - 1


def estimate_prevalence(n_found: np.ndarray, n_cells: np.ndarray, rates: Rates) -> tuple[np.ndarray, ...]:
    """Share of positives ``[n_groups]``, and its 95 % interval that holds for all groups together.

    The share of found cells is corrected for recall and false positives (Rogan and Gladen 1978). The interval takes
    the worse ends of the Clopper-Pearson intervals of all three, each of which fails in a third of 5 %.
    """
    third = ALPHA / 3
    share_low, share_high = clopper_pearson(n_found, n_cells, third / max(len(n_cells), 1))
    recall_low, recall_high = map(float, clopper_pearson(rates.n_true, rates.n_positives, third))
    false_low, false_high = map(float, clopper_pearson(rates.n_false, rates.n_negatives, third))
    recall, false_rate = rates.n_true / rates.n_positives, rates.n_false / rates.n_negatives
    estimate = _corrected(n_found / n_cells, recall, false_rate, np.nan)
    low = _corrected(share_low, recall_high, false_high, 0.0)
    return estimate, low, _corrected(share_high, recall_low, false_low, 1.0)


def _corrected(share: np.ndarray, recall: float, false_rate: float, unknown: float) -> np.ndarray:
    if recall <= false_rate:
        return np.where(np.isnan(share), np.nan, unknown)
    return np.clip((share - false_rate) / (recall - false_rate), 0, 1)


def abundance(groups: Any, score: np.ndarray, is_found: np.ndarray, rates: Rates) -> pd.DataFrame:
    """Found cells per group, the highest lower bound of the share first; NaN for groups without an embedding.

    The 95 % intervals hold for all groups together (Bonferroni).
    """
    cells = pd.DataFrame({"group": groups, "known": ~np.isnan(score), "found": is_found, "score": score})
    grouped = cells.groupby("group", observed=False)
    table = grouped.agg(n_cells=("known", "sum"), n_found=("found", "sum"), mean_score=("score", "mean"))
    n_found = table["n_found"].to_numpy(float)
    n_cells = table["n_cells"].where(table["n_cells"] > 0).to_numpy(float)
    table["share"] = n_found / n_cells
    table["low"], table["high"] = clopper_pearson(n_found, n_cells, ALPHA / len(table))
    columns = "prevalence", "prevalence_low", "prevalence_high"
    for name, values in zip(columns, estimate_prevalence(n_found, n_cells, rates), strict=True):
        table[name] = values
    table = table.reset_index().astype({"group": str}).sort_values(["low", "share"], ascending=False, kind="stable")
    return table[["group", "n_cells", "n_found", "share", "low", "high", *columns, "mean_score"]]

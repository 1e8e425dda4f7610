"""Held-out cells of the reference: probabilities, and scores at the assumed shares of the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from univerce.embeddings.classifiers import Classifier, among_best
from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows
from univerce.tl.labels.calibration import Calibration, cross_fitted, expected_error, reliability
from univerce.tl.labels.prior import fitted_shares, shifted

TOP = 3
ENOUGH = 20_000
"""Most held-out cells of a fold; beyond them no further fold is fitted, unless whole batches are held out."""

_KEPT, _MANY = 8, 2**20


@dataclass(frozen=True, eq=False)
class HeldOut:
    """``n`` held-out cells; those with labels that are not allowed are left out."""

    proba: np.ndarray
    """``[n, n_classes]``."""
    uncalibrated: np.ndarray
    """``[n, n_classes]``, at the same shares of the labels."""
    truth: np.ndarray
    """``[n]`` class."""
    folds: np.ndarray
    """``[n]`` cells to leave out together."""
    batches: np.ndarray
    """``[n]`` name of the batch, ``""`` without batches."""
    weights: np.ndarray
    """``[n]`` that give the labels their assumed shares, 1 on average."""

    @classmethod
    def read(cls, held_out: Mapping[str, np.ndarray], classes: pd.DataFrame, shares: np.ndarray) -> Self:
        """Read what a classifier holds, at the assumed ``shares`` ``[n_classes]``."""
        ratio = shares / fitted_shares(classes)
        truth = np.asarray(held_out["label"])
        kept = ratio[truth] > 0
        weights = ratio[truth[kept]]
        before, after = (held_out[name][kept].astype(np.float64) for name in ("uncalibrated", "probability"))
        return cls(
            shifted(after, ratio), shifted(before, ratio), truth[kept],
            np.asarray(held_out["fold"])[kept], np.asarray(held_out["batch"], dtype=object)[kept],
            weights / weights.mean() if len(weights) else weights,
        )  # fmt: skip

    def scores(self) -> dict[str, Any]:
        """Accuracy, macro-F1, accuracy of the best three, calibration error, before and after, and its table."""
        best = self.proba.argmax(axis=1)
        before, table = (
            reliability(proba.max(axis=1), proba.argmax(axis=1) == self.truth, weights=self.weights)
            for proba in (self.uncalibrated, self.proba)
        )
        each = self.by_label(self.proba.shape[1])
        return {
            "accuracy": float(np.average(best == self.truth, weights=self.weights)),
            f"top_{TOP}_accuracy": float(np.average(among_best(self.proba, self.truth, TOP), weights=self.weights)),
            "macro_f1": float(each.loc[each["n_held_out"] > 0, "f1"].mean()),
            "ece_before": expected_error(before),
            "ece_after": expected_error(table),
            "n_cells": len(best),
            "reliability": table,
        }

    def by_label(self, n_classes: int) -> pd.DataFrame:
        """``[n_classes]`` held-out cells, precision, recall and F1 of each label, NaN where nothing is known."""
        best = self.proba.argmax(axis=1)
        said, true, both = (
            np.bincount(which, weights=self.weights * counted, minlength=n_classes)
            for which, counted in ((best, 1), (self.truth, 1), (best, best == self.truth))
        )
        n_held_out = np.bincount(self.truth, minlength=n_classes)
        known = n_held_out > 0

        def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
            return np.divide(part, whole, out=np.full(n_classes, np.nan), where=known & (whole > 0))

        return pd.DataFrame(
            {
                "n_held_out": n_held_out, "precision": share(both, said), "recall": share(both, true),
                "f1": share(2 * both, said + true),
            }
        )  # fmt: skip


def hold_out(
    fitted: Iterator[tuple[np.ndarray, Classifier | None]], x: np.ndarray, y: np.ndarray, folds: np.ndarray,
    batches: np.ndarray | None, *, by_class: bool, done: Callable[[], object],
) -> tuple[Calibration, dict[str, np.ndarray], np.ndarray, Classifier | None]:  # fmt: skip
    """Predict held-out cells, fit the calibration and apply to each fold that of the others.

    Returns the calibration, the held-out cells with their probabilities at the shares of the fitted cells, with and
    without calibration, the rows that were held out, none if no cell can be, and the last of the classifiers.
    """
    rows, parts, last = [], [], None
    for found, model in fitted:
        done()
        if model is None:
            continue
        last = model
        rows.append(found)
        parts += [model.log_proba(x[found[part]]) for part in blocks_of_rows(len(found), ROUNDED_ROWS)]
        if batches is None and sum(map(len, rows)) >= ENOUGH:
            break
    if not rows:
        return Calibration(1.0, np.ones(0), np.zeros(0)), {}, np.empty(0, dtype=np.int64), None
    held = np.concatenate(rows)
    order = np.argsort(held, kind="stable")
    held, log_proba = held[order], np.concatenate(parts)[order]
    truth, groups = y[held], folds[held]
    if len(np.unique(groups)) == 1:
        groups = np.arange(len(held)) % 5  # of one fold: their order is random
    proba = cross_fitted(log_proba, truth, groups, by_class=by_class)
    content = {
        "probability": _largest(proba), "uncalibrated": _largest(np.exp(log_proba)), "label": truth, "fold": groups,
        "batch": np.full(len(held), "", dtype=object) if batches is None else batches[held].astype(object),
    }  # fmt: skip
    return Calibration.fit(log_proba, truth, by_class=by_class), content, held, last


def _largest(proba: np.ndarray) -> np.ndarray:
    """float32; of many cells only the largest of each, so that a saved classifier stays small."""
    proba = proba.astype(np.float32)
    if proba.size > _MANY:
        np.put_along_axis(proba, np.argpartition(-proba, _KEPT, axis=1)[:, _KEPT:], 0.0, axis=1)
    return proba

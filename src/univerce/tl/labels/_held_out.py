"""Held-out cells of the reference: probabilities, and scores at the assumed shares of the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from univerce.tl.labels.calibration import Calibration, cross_fitted, expected_error, reliability
from univerce.tl.labels.prior import fitted_shares, shifted

TOP = 3
ENOUGH = 20_000
"""Held-out cells beyond which no further fold is fitted, unless whole batches are held out."""

_KEPT, _MANY = 8, 2**20


@dataclass(frozen=True, eq=False)
class HeldOut:
    """``n`` held-out cells; those with labels that are not allowed are left out."""

    proba: np.ndarray
    """``[n, n_classes]``."""
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
        return cls(
            shifted(np.asarray(held_out["probability"][kept], np.float64), ratio), truth[kept],
            np.asarray(held_out["fold"])[kept], np.asarray(held_out["batch"], dtype=object)[kept],
            weights / weights.mean() if len(weights) else weights,
        )  # fmt: skip

    def scores(self) -> dict[str, Any]:
        """Accuracy, macro-F1, accuracy of the best three, calibration error and its table."""
        best = self.proba.argmax(axis=1)
        table = reliability(self.proba.max(axis=1), best == self.truth, weights=self.weights)
        true = self.proba[np.arange(len(best)), self.truth]
        above = (self.proba > true[:, None]).sum(axis=1)
        each = self.by_label(self.proba.shape[1])
        return {
            "accuracy": float(np.average(best == self.truth, weights=self.weights)),
            f"top_{TOP}_accuracy": float(np.average(above < TOP, weights=self.weights)),
            "macro_f1": float(each.loc[each["n_held_out"] > 0, "f1"].mean()),
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
    fitted: Iterator[tuple[np.ndarray, np.ndarray]], y: np.ndarray, folds: np.ndarray, batches: np.ndarray | None,
    *, by_class: bool, done: Callable[[], object],
) -> tuple[Calibration, dict[str, np.ndarray], float, np.ndarray]:  # fmt: skip
    """Collect held-out cells, fit the calibration and predict each fold with that of the others.

    Returns the calibration, the held-out cells with their probabilities at the shares of the fitted cells, the
    calibration error without calibration, and the rows that were held out, none if no cell can be.
    """
    rows, parts = [], []
    for found, log_proba in fitted:
        rows.append(found)
        parts.append(log_proba)
        done()
        if batches is None and sum(map(len, rows)) >= ENOUGH:
            break
    held = np.concatenate(rows)
    if len(held) == 0:
        return Calibration(1.0, np.ones(0), np.zeros(0)), {}, np.nan, held
    order = np.argsort(held, kind="stable")
    held, log_proba = held[order], np.concatenate(parts)[order]
    truth, groups = y[held], folds[held]
    if len(np.unique(groups)) == 1:
        groups = np.arange(len(held)) % 5  # of one fold: their order is random
    before = reliability(np.exp(log_proba.max(axis=1)), log_proba.argmax(axis=1) == truth)
    proba = cross_fitted(log_proba, truth, groups, by_class=by_class).astype(np.float32)
    if proba.size > _MANY:  # a saved classifier stays small
        np.put_along_axis(proba, np.argpartition(-proba, _KEPT, axis=1)[:, _KEPT:], 0.0, axis=1)
    content = {
        "probability": proba, "label": truth, "fold": groups,
        "batch": np.full(len(held), "", dtype=object) if batches is None else batches[held].astype(object),
    }  # fmt: skip
    return Calibration.fit(log_proba, truth, by_class=by_class), content, expected_error(before), held

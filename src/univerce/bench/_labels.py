"""Scores of labels that nearest neighbors and classifiers give: arrays in, a prediction for each cell out."""

from __future__ import annotations

from typing import Final

import numpy as np
from sklearn.metrics import f1_score

from univerce.embeddings.classifiers import assign_folds, held_out_log_proba

N_FOLDS: Final = 5


def predict_within(x: np.ndarray, y: np.ndarray, method: str) -> np.ndarray:
    """``[n]`` label of each cell by a classifier that was fitted on the cells of the other four of five folds."""
    return _predict(x, y, assign_folds(y, None, N_FOLDS, 0), method)


def predict_across(x: np.ndarray, y: np.ndarray, batches: np.ndarray, method: str) -> np.ndarray:
    """``[n]`` label of each cell by a classifier that has not seen its batch; -1 when no other batch has its type."""
    return _predict(x, y, batches, method)


def _predict(x: np.ndarray, y: np.ndarray, folds: np.ndarray, method: str) -> np.ndarray:
    out = np.full(len(y), -1)
    for rows, log_proba in held_out_log_proba(method, x, y, int(y.max()) + 1, folds):
        if len(rows):
            out[rows] = log_proba.argmax(axis=1)
    return out


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """F1 averaged over the types that occur."""
    return float(f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))

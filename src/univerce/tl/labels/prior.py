"""Composition of the cells: shares of the labels in the reference, among the fitted cells and in the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

Prior = Literal["reference", "uniform", "query"]

_MAX_STEPS, _TOLERANCE = 1000, 1e-7


def target_shares(classes: pd.DataFrame, prior: Prior, allowed: Sequence[str] | None = None) -> np.ndarray:
    """``[n_classes]`` shares of the labels to assume, before those of a query are estimated; 0 if not allowed."""
    shares = np.ones(len(classes)) if prior == "uniform" else classes["n_cells"].to_numpy(np.float64)
    if allowed is not None:
        shares = np.where(classes.index.isin(list(allowed)), shares, 0.0)
    return shares / shares.sum()


def fitted_shares(classes: pd.DataFrame) -> np.ndarray:
    """``[n_classes]`` shares of the labels among the fitted cells, of which common labels have ``max_cells``."""
    used = classes["n_used"].to_numpy(np.float64)
    return used / used.sum()


def log_ratio(shares: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """``[n_classes]`` to add to log-probabilities at the fitted shares; minus infinity for a share of zero."""
    with np.errstate(divide="ignore"):
        return np.log(shares) - np.log(fitted)


def shifted(proba: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Probabilities ``[n, n_classes]`` at other shares of the labels: times their ``ratio``, and normalized."""
    out = proba * ratio
    total = out.sum(axis=1, keepdims=True)
    return np.divide(out, total, out=np.tile(ratio / ratio.sum(), (len(out), 1)), where=total > 0)


def estimate_shares(proba: np.ndarray, fitted: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Estimate the shares ``[n_classes]`` of the labels among some cells by EM (Saerens et al. 2002, equation 2.10).

    ``proba`` ``[n, n_classes]`` are calibrated at the ``fitted`` shares. ``start`` counts as one more cell, so that no
    label with a share is lost.
    """
    shares = start
    for _ in range(_MAX_STEPS):
        new = (shifted(proba, shares / fitted).sum(axis=0) + start) / (len(proba) + 1)
        if np.abs(new - shares).max() < _TOLERANCE:
            return new
        shares = new
    return shares

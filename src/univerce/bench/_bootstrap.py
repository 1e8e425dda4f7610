"""Intervals of means by resampling the unit that is independent: donors or batches, and the cells in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from univerce.embeddings.labels import get_labels

MIN_UNITS = 5
CELLS = "cells"


def read_units(obs: pd.DataFrame, key: str | None) -> np.ndarray | None:
    """``[n_obs]`` donor or batch of each cell, -1 for none; None without a column."""
    return None if key is None else np.asarray(get_labels(obs, key).codes, dtype=np.int64)


def enough_units(units: np.ndarray | None) -> np.ndarray | None:
    """The units, or None with fewer than five: their spread cannot be estimated, and cells are resampled instead."""
    return None if units is None or len(np.unique(units)) < MIN_UNITS else units


@dataclass(frozen=True, eq=False)
class Resampler:
    """Draws cells with replacement, in each unit that is drawn with replacement, or in each stratum."""

    groups: list[np.ndarray]
    """Rows of each unit or stratum."""
    of_units: bool

    @classmethod
    def of(cls, units: np.ndarray | None, strata: np.ndarray) -> Resampler:
        """For units ``[n]``, or without them for strata ``[n]``."""
        codes = strata if units is None else units
        _, place, size = np.unique(codes, return_inverse=True, return_counts=True)
        return cls(np.split(np.argsort(place, kind="stable"), np.cumsum(size)[:-1]), units is not None)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """``[n]`` how often each cell is drawn: as many as a unit has, every time that it is drawn."""
        k = len(self.groups)
        times = rng.multinomial(k, np.full(k, 1 / k)) if self.of_units else np.ones(k, dtype=int)
        weights = np.zeros(sum(map(len, self.groups)))
        for rows, n in zip(self.groups, times, strict=True):
            if n:
                weights[rows] = rng.multinomial(n * len(rows), np.full(len(rows), 1 / len(rows)))
        return weights

    def percentiles(self, drawn: np.ndarray) -> tuple[float, float]:
        """95 % percentile interval of what was drawn, wider for few units (Hesterberg 2015, expanded percentiles)."""
        from scipy.stats import norm, t

        tail, k = 0.025, len(self.groups)
        if self.of_units:
            tail = float(norm.cdf(np.sqrt(k / (k - 1)) * t.ppf(tail, k - 1)))
        low, high = np.quantile(drawn, [tail, 1 - tail])
        return float(low), float(high)


def stratified_mean(values: np.ndarray, strata: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean over the strata of the weighted mean of ``values`` ``[n]``; strata without weight do not count."""
    weights = np.ones(len(values)) if weights is None else weights
    total, weight = np.bincount(strata, weights * values), np.bincount(strata, weights)
    return float((total[weight > 0] / weight[weight > 0]).mean())


def interval(
    values: np.ndarray, n: int, seed: int, strata: np.ndarray | None = None, units: np.ndarray | None = None
) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of ``values`` ``[n_cells]``, or of the mean of the means of strata."""
    rng = np.random.default_rng(seed)
    strata = np.zeros(len(values), dtype=np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    resampler = Resampler.of(enough_units(units), strata)
    return resampler.percentiles(np.array([stratified_mean(values, strata, resampler.draw(rng)) for _ in range(n)]))


def interval_columns(
    values: np.ndarray, n: int, seed: int, strata: np.ndarray | None, units: np.ndarray | None, unit: str
) -> dict[str, Any]:
    """``low``, ``high`` and the ``unit`` that was resampled, for values ``[n_cells]`` with NaN for cells not scored."""
    there = ~np.isnan(values)
    strata, units = (None if x is None else x[there] for x in (strata, units))
    low, high = interval(values[there], n, seed, strata, units)
    return {"low": low, "high": high, "unit": CELLS if enough_units(units) is None else unit}


def clopper_pearson(count: float, n: int) -> tuple[float, float]:
    """95 % interval of a share, exact for whole counts."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(count, n, method="beta")
    return float(low), float(high)

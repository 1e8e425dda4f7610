"""Intervals of scores by resampling what is independent: donors or batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from univerce.embeddings.labels import get_labels

MIN_UNITS = 5
CELLS, TYPES = "cells", "types"


class Resampling(NamedTuple):
    """What is resampled for intervals, and how often."""

    n: int
    """0 for no intervals."""
    seed: int
    units: np.ndarray | None
    """``[n_cells]`` donor or batch of each cell; None resamples the cells."""
    unit: str
    """Name of the units."""

    def of(self, cells: np.ndarray) -> Resampling:
        """Select cells."""
        return self if self.units is None else self._replace(units=self.units[cells])


def read_units(obs: pd.DataFrame, key: str | None) -> np.ndarray | None:
    """``[n_obs]`` donor or batch of each cell, -1 for none; None without a column."""
    return None if key is None else np.asarray(get_labels(obs, key).codes, dtype=np.int64)


def enough_units(units: np.ndarray | None) -> np.ndarray | None:
    """The units, or None with fewer than five: their spread cannot be estimated, and cells are resampled instead."""
    return None if units is None or len(np.unique(units)) < MIN_UNITS else units


def stratified_mean(values: np.ndarray, strata: np.ndarray) -> float:
    """Mean over the strata ``[n]`` of the mean of ``values`` ``[n]``."""
    _, place, size = np.unique(strata, return_inverse=True, return_counts=True)
    return float((np.bincount(place, values) / size).mean())


def resampled_means(
    values: np.ndarray, strata: np.ndarray, units: np.ndarray | None, columns: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """``[n]`` stratified means of resampled units with all their cells; without units, of cells in each stratum.

    ``values`` ``[n_cells, n_columns]`` are summed with the weights ``columns`` ``[n, n_columns]`` of each resample. The
    spread of the units contains that of their cells, which are not resampled once more. A stratum that no drawn unit
    has does not count.
    """
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    out = np.empty(len(columns))
    if units is None:
        for i, column in enumerate(columns):
            drawn = [rows[rng.integers(len(rows), size=len(rows))] for rows in groups]
            out[i] = np.mean([(values[rows] @ column).mean() for rows in drawn])
        return out
    place, k = np.unique(units, return_inverse=True)[1], len(np.unique(units))
    totals = np.array([[np.bincount(place[g], v[g], k) for v in values.T] for g in groups])  # [n_strata, n_columns, k]
    sizes = np.array([np.bincount(place[g], minlength=k) for g in groups])
    times = rng.multinomial(k, np.full(k, 1 / k), size=len(columns))
    total, size = np.einsum("nk,sck,nc->ns", times, totals, columns, optimize=True), times @ sizes.T
    means = np.divide(total, size, out=np.full(total.shape, np.nan), where=size > 0)
    return np.asarray(np.nanmean(means, axis=1))


def resampled_counts(
    codes: Sequence[np.ndarray], units: np.ndarray | None, n: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """``[n, n_codes]`` how many cells have each of the codes ``[n_cells]``, for each of the given codes.

    Cells are resampled as by :func:`resampled_means`, the same for all codes.
    """
    sizes = [int(c.max()) + 1 for c in codes]
    if units is None:
        out = [np.empty((n, size)) for size in sizes]
        for i in range(n):
            drawn = rng.integers(len(codes[0]), size=len(codes[0]))
            for counts, c, size in zip(out, codes, sizes, strict=True):
                counts[i] = np.bincount(c[drawn], minlength=size)
        return out
    k = len(np.unique(units))
    times = rng.multinomial(k, np.full(k, 1 / k), size=n)
    return [times @ counts_of_units(c, units) for c in codes]


def counts_of_units(codes: np.ndarray, units: np.ndarray) -> np.ndarray:
    """``[n_units, n_codes]`` cells of each unit with each of the codes ``[n_cells]``."""
    place, k, size = np.unique(units, return_inverse=True)[1], len(np.unique(units)), int(codes.max()) + 1
    return np.bincount(place * size + codes, minlength=k * size).reshape(k, size)


def confidence_interval(drawn: np.ndarray, estimate: float, units: np.ndarray | None) -> tuple[float, float]:
    """95 % interval of an estimate from what was drawn: percentiles of cells.

    Percentiles of few units are too close. With ``k`` units the interval is that of Student's t with ``k - 1`` degrees
    of freedom, by the standard deviation of what was drawn and a variance divided by ``k - 1``, not ``k``.
    """
    from scipy.stats import t

    if units is None:
        low, high = np.quantile(drawn, [0.025, 0.975])
        return float(low), float(high)
    k = len(np.unique(units))
    half = float(t.ppf(0.975, k - 1) * np.sqrt(k / (k - 1)) * drawn.std())
    return estimate - half, estimate + half


def interval(
    values: np.ndarray, n: int, seed: int, strata: np.ndarray | None = None, units: np.ndarray | None = None
) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of ``values`` ``[n_cells]``, or of the mean of the means of strata."""
    strata, units = np.zeros(len(values), dtype=np.int64) if strata is None else strata, enough_units(units)
    drawn = resampled_means(values[:, None], strata, units, np.ones((n, 1)), np.random.default_rng(seed))
    low, high = confidence_interval(drawn, stratified_mean(values, strata), units)
    return max(low, float(values.min())), min(high, float(values.max()))


def interval_columns(values: np.ndarray, how: Resampling, strata: np.ndarray | None = None) -> dict[str, Any]:
    """``low``, ``high`` and the ``unit`` that was resampled, for values ``[n_cells]`` with NaN for cells not scored."""
    there = ~np.isnan(values)
    units = how.of(there).units
    low, high = interval(values[there], how.n, how.seed, None if strata is None else strata[there], units)
    return {"low": low, "high": high, "unit": CELLS if enough_units(units) is None else how.unit}


def counts_interval(
    codes: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], how: Resampling
) -> dict[str, Any]:
    """Columns as of :func:`interval_columns`, of a ``statistic`` in [0, 1] of the numbers of cells with each code.

    ``statistic`` maps ``[n, n_codes]`` counts to ``[n]`` values; ``codes`` are ``[n_cells]``.
    """
    units = enough_units(how.units)
    (drawn,) = resampled_counts([codes], units, how.n, np.random.default_rng(how.seed))
    estimate = float(statistic(np.bincount(codes)[None])[0])
    low, high = confidence_interval(statistic(drawn), estimate, units)
    return {"low": max(low, 0.0), "high": min(high, 1.0), "unit": CELLS if units is None else how.unit}


def jackknife(left_out: np.ndarray, estimate: float) -> tuple[float, float]:
    """95 % interval of a score from its values ``[k]`` without each of ``k`` units; NaN if one is missing.

    Scores of neighbors and clusters cannot be bootstrapped, because a cell that is drawn twice is its own neighbor.
    """
    from scipy.stats import t

    k = len(left_out)
    half = float(t.ppf(0.975, k - 1) * np.sqrt((k - 1) / k * np.square(left_out - left_out.mean()).sum()))
    return estimate - half, estimate + half

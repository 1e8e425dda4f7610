"""Two methods on the same cells: differences of scores, and what they are over resampled donors or batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from univerce.bench._bootstrap import (
    CELLS,
    confidence_interval,
    counts_of_units,
    enough_units,
    jackknife,
    resampled_counts,
    resampled_means,
    stratified_mean,
)
from univerce.bench._metrics import macro_f1, pairs_of
from univerce.embeddings.ranks import clopper_pearson

_DIGITS = 9


def paired_means(
    x: np.ndarray,
    y: np.ndarray,
    strata: np.ndarray,
    units: np.ndarray | None,
    unit: str,
    n: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Compare means of scores ``[n_cells, n_seeds]`` over resampled units, cells and seeds."""
    of_x, of_y = (_seeds(s.shape[1], n, rng) for s in (x, y))
    drawn = resampled_means(np.hstack([x, -y]), strata, enough_units(units), np.hstack([of_x, of_y]), rng)
    gap, by_unit = x.mean(axis=1) - y.mean(axis=1), None
    if units is not None:
        by_unit = np.array([stratified_mean(gap[h], strata[h]) for h in (units == u for u in np.unique(units))])
    values = [stratified_mean(s.mean(axis=1), strata) for s in (x, y)]
    return _row(values, drawn, by_unit, units, unit, len(x))


def paired_f1(
    truth: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    units: np.ndarray | None,
    unit: str,
    n: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Compare the macro-F1 of predicted types ``[n_cells, n_seeds]`` over resampled units, cells and seeds."""
    of_x, of_y = (_seeds(s.shape[1], n, rng) for s in (x, y))
    given = [*x.T, *y.T]
    pairs = [pairs_of(truth, g) for g in given]
    counts = resampled_counts([place for *_, place in pairs], enough_units(units), n, rng)
    drawn = np.array([macro_f1(a, b, c) for (a, b, _), c in zip(pairs, counts, strict=True)]).T
    values = [float(np.mean([macro_f1(truth, g)[0] for g in s.T])) for s in (x, y)]
    by_unit = None
    if units is not None:
        each = np.array([macro_f1(a, b, counts_of_units(place, units)) for a, b, place in pairs])
        by_unit = each[: x.shape[1]].mean(axis=0) - each[x.shape[1] :].mean(axis=0)
    drawn = (drawn * np.hstack([of_x, -of_y])).sum(axis=1)
    return _row(values, drawn, by_unit, units, unit, len(truth))


def paired_totals(values: list[float], left_out: list[pd.Series], unit: str) -> dict[str, Any]:
    """Compare scores of all cells by their values without each of the units ``[n_units]``, if these were computed."""
    row: dict[str, Any] = {"value_a": values[0], "value_b": values[1], "difference": values[0] - values[1]}
    if not all(len(part) for part in left_out):
        return row | {"note": "no mean over cells: run with scib='intervals'"}
    low, high = jackknife((left_out[0] - left_out[1]).to_numpy(), row["difference"])
    return row | {"low": low, "high": high, "unit": unit, "n_units": len(left_out[0])}


def _seeds(n_seeds: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """``[n, n_seeds]`` weights of resampled seeds."""
    return rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n) / n_seeds


def _row(
    values: list[float],
    drawn: np.ndarray,
    by_unit: np.ndarray | None,
    units: np.ndarray | None,
    unit: str,
    n_cells: int,
) -> dict[str, Any]:
    """Columns of the comparison; ``by_unit`` are the differences in each unit."""
    enough, (value_a, value_b) = enough_units(units), values
    low, high = confidence_interval(drawn, value_a - value_b, enough)
    row: dict[str, Any] = {"value_a": value_a, "value_b": value_b, "difference": value_a - value_b}
    row |= {"low": low, "high": high, "unit": CELLS if enough is None else unit, "n_cells": n_cells}
    if by_unit is None:
        return row | {"n_units": 0, "note": "cells of unknown donors: pass donor_key="}
    n_units, gap = len(by_unit), by_unit.round(_DIGITS)
    wins = float((gap > 0).sum() + (gap == 0).sum() / 2)
    superior = map(float, clopper_pearson(wins, n_units))
    share = dict(zip(("superiority_low", "superiority_high"), superior, strict=True))
    note = "" if enough is not None else f"{n_units} of {unit!r}, too few to resample: holds for these only"
    return row | {"n_units": n_units, "superiority": wins / n_units, **share, "note": note}

"""Scores of the structure of an embedding by scib-metrics and scGraph, with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from univerce.bench import _scgraph, _scib
from univerce.bench._bootstrap import MIN_UNITS, TYPES, Resampling, enough_units, interval_columns, jackknife
from univerce.bench._cache import cached_numbers
from univerce.bench._result import row
from univerce.bench._scored_cells import Scored

ONE_BATCH = "one batch only"
Scib = bool | Literal["intervals"]


def scib_rows(
    x: np.ndarray, scored: Scored, before: np.ndarray | None, scib: Scib, unit: str, cache: Path | None
) -> tuple[list[dict[str, Any]], pd.DataFrame | None]:
    """Rows of the scores of scib-metrics, and the scores without each donor or batch, if there are to be intervals.

    ``before`` are principal components of the expression, None with too few cells; ``unit`` is the name of the units.
    """
    rows = list(_scib_rows(x, scored, before, cache)) if scib else []
    units = enough_units(scored.units)
    if scib != "intervals" or before is None or units is None:
        return rows, None
    left_out = pd.DataFrame([_scib_scores(x, scored, before, cache, units != one) for one in np.unique(units)])
    for r in rows:
        if r["metric"] in left_out:
            low, high = jackknife(left_out[r["metric"]].to_numpy(), r["value"])
            r |= {"low": low, "high": high, "unit": unit}
    return rows, left_out


def _scib_rows(
    x: np.ndarray, scored: Scored, before: np.ndarray | None, cache: Path | None
) -> Iterator[dict[str, Any]]:
    found: Mapping[str, float] = {}
    missing = ONE_BATCH
    if before is None:
        missing = f"scIB needs more than {_scib.N_NEIGHBORS} cells"
    else:
        found = _scib_scores(x, scored, before, cache, np.ones(len(x), dtype=bool))
    for kind, names in (("bio conservation", _scib.BIO), ("batch correction", _scib.BATCH), ("scIB", _scib.TOTALS)):
        for name in names:
            value = found.get(name, np.nan)
            yield row(kind, name, value, note=missing if name not in found else "no type" if np.isnan(value) else "")


def _scib_scores(
    x: np.ndarray, scored: Scored, before: np.ndarray, cache: Path | None, kept: np.ndarray
) -> Mapping[str, float]:
    """The scores of scib-metrics of the cells that are kept."""
    types = scored.types[kept].remove_unused_categories()
    batches = None if scored.batches is None else scored.batches[kept].remove_unused_categories()
    parts = [x[kept], types.codes, np.zeros(0) if batches is None else batches.codes, before[kept]]
    return cached_numbers(cache, parts, lambda: _scib.scib_scores(x[kept], types, batches, before[kept]))


def scgraph_rows(
    x: np.ndarray, scored: Scored, consensus: pd.DataFrame | None, n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    """Rows of the scores of scGraph, as means of the types; ``consensus`` are the distances in the expression."""
    if consensus is None:
        note = f"no batch of {_scgraph.MIN_BATCH} cells"
        return [row("relations of types", name, note=note) for name in _scgraph.NAMES]
    found = _scgraph.scgraph_scores(x, np.asarray(scored.types, dtype=str), consensus)
    rows = [row("relations of types", str(name), float(np.nanmean(values))) for name, values in found.items()]
    if n_bootstrap and len(consensus) >= MIN_UNITS:
        for r, values in zip(rows, found.T.to_numpy(), strict=True):
            r |= interval_columns(values, Resampling(n_bootstrap, seed, np.arange(len(values)), TYPES))
    return rows

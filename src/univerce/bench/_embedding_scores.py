"""All scores of one embedding of one data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from univerce.bench import _scgraph, _scib
from univerce.bench._bootstrap import (
    MIN_UNITS,
    TYPES,
    clopper_pearson,
    counts_interval,
    enough_units,
    interval_columns,
    jackknife,
)
from univerce.bench._cache import cached_numbers
from univerce.bench._metrics import batch_ranks, macro_f1, pairs_of, predicted_labels, rotated, separated
from univerce.bench._scored_cells import Scored
from univerce.embeddings.classifiers import assign_folds
from univerce.tl.alignment.silhouette_by_type import draw_evenly

COLUMNS: Final = ["method", "seed", "kind", "metric", "group", "value", "low", "high", "unit", "n_cells", "note"]
TOP: Final = (1, 3)
N_FOLDS: Final = 5
MAX_SILHOUETTE: Final = 10_000
BY_TYPE: Final = {"silhouette"}
"""Metrics that are means over types of means over their cells."""
CLASSIFIERS: Final = {"kNN": "knn", "logistic": "logistic"}
_ONE_BATCH = "one batch only"

Scib = bool | Literal["intervals"]


@dataclass(frozen=True, eq=False)
class Result:
    """The scores of one embedding."""

    rows: list[dict[str, Any]]
    """Rows of the table of scores."""
    cells: dict[str, np.ndarray]
    """``[n]`` contribution of each scored cell to a metric that is a mean over cells."""
    confusion: pd.DataFrame
    """Cells by type and by predicted type across batches."""
    predicted: dict[str, pd.Categorical]
    """``[n]`` type of each scored cell by each classifier."""
    left_out: pd.DataFrame | None = None
    """scIB scores (columns) without each of the units (rows)."""


def row(kind: str, metric: str, value: float = np.nan, *, group: str = "all", note: str = "", **more: Any) -> dict:
    """One row of the table of scores."""
    return {"kind": kind, "metric": metric, "group": group, "value": value, "note": note, **more}


def score(
    embedding: np.ndarray,
    scored: Scored,
    before: np.ndarray | None,
    consensus: pd.DataFrame | None,
    *,
    scib: Scib,
    n_bootstrap: int,
    seed: int,
    unit: str,
    cache: Path | None = None,
) -> Result:
    """Score one embedding ``[n_obs, n_dims]``.

    ``before`` are the principal components of the scored cells, None with too few cells for scIB; ``consensus`` are the
    distances of types for scGraph, None without a batch that is large enough; ``unit`` is the name of the units;
    ``cache`` is the directory for the scores of scib-metrics.
    """
    x = rotated(separated(embedding[scored.rows]))
    y = scored.types.codes.astype(np.int64)
    cells = {"silhouette": _silhouettes(x, y, seed)}
    rows, left_out = list(_scib_rows(x, scored, before, cache)) if scib else [], None
    if scib == "intervals" and before is not None and (units := enough_units(scored.units)) is not None:
        left_out = _without_each(x, scored, before, cache, units)
        for r in rows:
            if r["metric"] in left_out:
                low, high = jackknife(left_out[r["metric"]].to_numpy(), r["value"])
                r |= {"low": low, "high": high, "unit": unit}
    rows += _scgraph_rows(x, scored, consensus, n_bootstrap, seed)
    rows += _silhouette_rows(cells["silhouette"], scored)
    predicted = {"kNN": predicted_labels(x, y, assign_folds(y, None, N_FOLDS, 0), "knn")}
    rows += _label_rows("kNN", "labels within", y, predicted["kNN"])
    for name, method in CLASSIFIERS.items():
        if scored.batches is None:
            names = (f"transfer {name} {measure}" for measure in ("accuracy", "macro-F1"))
            rows += [row("labels across batches", metric, note=_ONE_BATCH) for metric in names]
        else:
            given = predicted_labels(x, y, scored.batches.codes.astype(np.int64), method)
            predicted[f"transfer {name}"] = given
            rows += _label_rows(f"transfer {name}", "labels across batches", y, given, scored.batches)
    if scored.batches is None:
        rows += [row("centroids across batches", f"alignment top {k}", note=_ONE_BATCH) for k in TOP]
    else:
        ranks, found = batch_ranks(x, y, scored.batches.codes)
        for k in TOP:
            rows.append(row("centroids across batches", f"alignment top {k}", **shares_of_types(ranks <= k, found)))
    cells |= {f"{n} accuracy": np.where(p < 0, np.nan, p == y) for n, p in predicted.items()}
    for r in rows if n_bootstrap else ():
        if r["group"] != "all" or np.isnan(r["value"]):
            continue
        if r["metric"] in cells:
            strata = y if r["metric"] in BY_TYPE else None
            r |= interval_columns(cells[r["metric"]], n_bootstrap, seed, strata, scored.units, unit)
        elif (given := predicted.get(r["metric"].removesuffix(" macro-F1"))) is not None:
            r |= f1_interval(y, given, n_bootstrap, seed, scored.units, unit)
    types = np.asarray(scored.types.categories, dtype=object)
    given = predicted.get("transfer logistic", np.full(len(y), -1))
    named = {name: pd.Categorical.from_codes(codes, types) for name, codes in predicted.items()}
    rows = [{"n_cells": len(x)} | r for r in rows]
    return Result(rows, cells, confusion(types, y[given >= 0], given[given >= 0]), named, left_out)


def f1_interval(
    truth: np.ndarray, given: np.ndarray, n: int, seed: int, units: np.ndarray | None, unit: str
) -> dict[str, Any]:
    """Columns of the interval of macro-F1 of the cells ``[n]`` with a given type, not -1."""
    known = given >= 0
    true, other, place = pairs_of(truth[known], given[known])
    units = None if units is None else units[known]
    return counts_interval(place, lambda counts: macro_f1(true, other, counts), n, seed, units, unit)


def shares_of_types(found: np.ndarray, types: np.ndarray) -> dict[str, Any]:
    """Share of the searches ``[n]`` that found their type, and its exact interval as if each type were searched once.

    The centroids of two batches are of the same cells whatever batch the other is, so that types are independent, not
    searches.
    """
    n_types = len(np.unique(types))
    if n_types == 0:
        return {"value": np.nan, "note": "no type in two batches"}
    share = float(found.mean())
    low, high = clopper_pearson(share * n_types, n_types)
    return {"value": share, "low": low, "high": high, "unit": TYPES, "note": f"{len(found)} types searched for"}


def confusion(names: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Numbers of cells by true and predicted type."""
    pairs = pd.DataFrame({"truth": names[truth], "predicted": names[predicted]})
    return pairs.value_counts().rename("n_cells").reset_index()


def _scib_rows(
    x: np.ndarray, scored: Scored, before: np.ndarray | None, cache: Path | None
) -> Iterator[dict[str, Any]]:
    found: Mapping[str, float] = {}
    missing = _ONE_BATCH
    if before is None:
        missing = f"scIB needs more than {_scib.N_NEIGHBORS} cells"
    else:
        found = _cached_scib(x, scored, before, cache, np.ones(len(x), dtype=bool))
    for kind, names in (("bio conservation", _scib.BIO), ("batch correction", _scib.BATCH), ("scIB", _scib.TOTALS)):
        for name in names:
            value = found.get(name, np.nan)
            yield row(kind, name, value, note=missing if name not in found else "no type" if np.isnan(value) else "")


def _cached_scib(
    x: np.ndarray, scored: Scored, before: np.ndarray, cache: Path | None, kept: np.ndarray
) -> Mapping[str, float]:
    """The scores of scib-metrics of the cells that are kept."""
    types = scored.types[kept].remove_unused_categories()
    batches = None if scored.batches is None else scored.batches[kept].remove_unused_categories()
    parts = [x[kept], types.codes, np.zeros(0) if batches is None else batches.codes, before[kept]]
    return cached_numbers(cache, parts, lambda: _scib.scib_scores(x[kept], types, batches, before[kept]))


def _without_each(
    x: np.ndarray, scored: Scored, before: np.ndarray, cache: Path | None, units: np.ndarray
) -> pd.DataFrame:
    """Scores of scib-metrics without each of the units."""
    return pd.DataFrame([_cached_scib(x, scored, before, cache, units != unit) for unit in np.unique(units)])


def _scgraph_rows(
    x: np.ndarray, scored: Scored, consensus: pd.DataFrame | None, n_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    if consensus is None:
        note = f"no batch of {_scgraph.MIN_BATCH} cells"
        return [row("relations of types", name, note=note) for name in _scgraph.NAMES]
    found = _scgraph.scgraph_scores(x, np.asarray(scored.types, dtype=str), consensus)
    rows = [row("relations of types", name, float(np.nanmean(values))) for name, values in found.items()]
    if n_bootstrap and len(consensus) >= MIN_UNITS:
        for r, values in zip(rows, found.T.to_numpy(), strict=True):
            r |= interval_columns(values, n_bootstrap, seed, None, np.arange(len(values)), TYPES)
    return rows


def _silhouettes(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """``[n]`` in [0, 1]; NaN for cells left out of the subsample."""
    from sklearn.metrics import silhouette_samples

    drawn = draw_evenly(y, MAX_SILHOUETTE, np.random.default_rng(seed))
    out = np.full(len(x), np.nan)
    out[drawn] = (silhouette_samples(x[drawn], y[drawn]) + 1) / 2
    return out


def _silhouette_rows(values: np.ndarray, scored: Scored) -> Iterator[dict[str, Any]]:
    by_type = pd.Series(values).groupby(np.asarray(scored.types)).agg(["mean", "count"])
    yield row("silhouette", "silhouette", float(by_type["mean"].mean()), note="mean over types")
    for name, (mean, n) in by_type.iterrows():
        yield row("silhouette", "silhouette", mean, group=str(name), n_cells=int(n))


def _label_rows(
    name: str, kind: str, y: np.ndarray, given: np.ndarray, batches: pd.Categorical | None = None
) -> Iterator[dict[str, Any]]:
    known = given >= 0
    parts = {"all": known}
    if batches is not None:
        parts |= {str(b): known & np.asarray(batches == b) for b in batches.categories}
    for group, inside in parts.items():
        n = int(inside.sum())
        note = f"{(~known).sum()} cells of types in one batch only" if group == "all" and not known.all() else ""
        accuracy = float((given[inside] == y[inside]).mean()) if n else np.nan
        f1 = float(macro_f1(y[inside], given[inside])[0]) if n else np.nan
        for measure, value in (("accuracy", accuracy), ("macro-F1", f1)):
            yield row(kind, f"{name} {measure}", value, group=group, n_cells=n, note=note)

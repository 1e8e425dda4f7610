"""All scores of one embedding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from univerce.bench import _scib
from univerce.bench._bootstrap import interval, resampled_means
from univerce.bench._cache import cached_numbers
from univerce.bench._centroids import alignment_of_batches
from univerce.bench._geometry import rotated, separate
from univerce.bench._labels import macro_f1, predict_across, predict_within
from univerce.bench._scored import Scored
from univerce.tl.alignment.silhouette_by_type import draw_evenly

COLUMNS: Final = ["method", "seed", "kind", "metric", "group", "value", "low", "high", "n_cells", "note"]
TOP: Final = (1, 3)
MAX_SILHOUETTE: Final = 10_000
BY_TYPE: Final = {"silhouette"}
"""Metrics that are means over types of means over their cells."""
_ONE_BATCH = "one batch only"


@dataclass(frozen=True, eq=False)
class Result:
    """What one embedding scored."""

    rows: list[dict[str, Any]]
    """In the columns of the scores."""
    cells: dict[str, np.ndarray]
    """``[n]`` of the scored cells: what each contributes to a metric that is a mean over cells."""
    confusion: pd.DataFrame
    """Cells by type and by the type that a classifier gave them across batches."""


def score(
    embedding: np.ndarray,
    scored: Scored,
    before: np.ndarray | None,
    *,
    scib: bool,
    n_bootstrap: int,
    seed: int,
    cache: Path | None = None,
) -> Result:
    """Score one embedding.

    Parameters
    ----------
    embedding
        ``[n_obs, n_dims]``.
    scored
        The cells that count.
    before
        ``[n, n_comps]`` principal components of the scored cells before anything was done; None for too few cells.
    scib
        Also call scib-metrics.
    n_bootstrap
        Resamples for the intervals.
    seed
        Of the resamples.
    cache
        Directory for what scib-metrics said.
    """
    x = rotated(separate(embedding[scored.rows]))
    y = scored.types.codes.astype(np.int64)
    rows: list[dict[str, Any]] = []
    cells = {"silhouette": _silhouettes(x, y, seed)}
    predicted = {"kNN": predict_within(x, y, "knn")}
    if scored.batches is not None:
        batches = scored.batches.codes.astype(np.int64)
        predicted |= {f"transfer {n}": predict_across(x, y, batches, m) for n, m in CLASSIFIERS.items()}
    cells |= {f"{n} accuracy": np.where(p < 0, np.nan, p == y) for n, p in predicted.items()}

    if scib:
        rows += list(_scib_rows(x, scored, before, cache))
    rows += list(_silhouette_rows(cells["silhouette"], scored))
    for name, given in predicted.items():
        kind = "labels across batches" if name.startswith("transfer") else "labels within"
        groups = scored.batches if kind == "labels across batches" else None
        rows += list(_label_rows(name, kind, y, given, groups))
    if scored.batches is None:
        across = [f"transfer {n} {m}" for n in CLASSIFIERS for m in ("accuracy", "macro-F1")]
        rows += [_row("labels across batches", m, note=_ONE_BATCH) for m in across]
        rows += [_row("centroids across batches", f"alignment top {k}", note=_ONE_BATCH) for k in TOP]
    else:
        shares, n = alignment_of_batches(x, y, batches, TOP)
        note = f"{n} types looked for" if n else "no type in two batches"
        names = (f"alignment top {k}" for k in TOP)
        rows += [_row("centroids across batches", m, s, note=note) for m, s in zip(names, shares, strict=True)]
    _add_intervals(rows, cells, y, n_bootstrap, seed)
    for row in rows:
        row.setdefault("n_cells", len(x))
    return Result(rows, cells, _confusion(predicted.get("transfer logistic"), scored))


CLASSIFIERS: Final = {"kNN": "knn", "logistic": "logistic"}


def _row(kind: str, metric: str, value: float = np.nan, *, group: str = "all", note: str = "", **more: Any) -> dict:
    return {"kind": kind, "metric": metric, "group": group, "value": value, "note": note, **more}


def _scib_rows(
    x: np.ndarray, scored: Scored, before: np.ndarray | None, cache: Path | None
) -> Iterator[dict[str, Any]]:
    found: Mapping[str, float] = {}
    if before is None:
        why = f"scIB needs more than {_scib.N_NEIGHBORS} cells"
    else:
        batches = np.zeros(0) if scored.batches is None else scored.batches.codes
        parts = [x, scored.types.codes, batches, before]
        found = cached_numbers(cache, parts, lambda: _scib.scib_scores(x, scored.types, scored.batches, before))
        why = _ONE_BATCH
    for kind, names in (("bio conservation", _scib.BIO), ("batch correction", _scib.BATCH), ("scIB", _scib.TOTALS)):
        for name in names:
            value = found.get(name, np.nan)
            missing = why if name not in found else "no type allows it" if np.isnan(value) else ""
            yield _row(kind, name, value, note=missing)


def _silhouettes(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """``[n]`` between 0 and 1; NaN for cells that were not drawn when there are too many."""
    from sklearn.metrics import silhouette_samples

    drawn = draw_evenly(y, MAX_SILHOUETTE, np.random.default_rng(seed))
    out = np.full(len(x), np.nan)
    out[drawn] = (silhouette_samples(x[drawn], y[drawn]) + 1) / 2
    return out


def _silhouette_rows(values: np.ndarray, scored: Scored) -> Iterator[dict[str, Any]]:
    by_type = pd.Series(values).groupby(np.asarray(scored.types)).agg(["mean", "count"])
    yield _row("silhouette", "silhouette", float(by_type["mean"].mean()), note="mean over types")
    for name, (mean, n) in by_type.iterrows():
        yield _row("silhouette", "silhouette", mean, group=str(name), n_cells=int(n))


def _label_rows(
    name: str, kind: str, y: np.ndarray, given: np.ndarray, groups: pd.Categorical | None
) -> Iterator[dict[str, Any]]:
    judged = given >= 0
    left = f"{(~judged).sum()} cells of types that no other batch has" if not judged.all() else ""
    parts = {"all": judged}
    if groups is not None:
        parts |= {str(b): judged & np.asarray(groups == b) for b in groups.categories}
    for group, inside in parts.items():
        n = int(inside.sum())
        accuracy = float((given[inside] == y[inside]).mean()) if n else np.nan
        f1 = macro_f1(y[inside], given[inside]) if n else np.nan
        note = left if group == "all" else ""
        yield _row(kind, f"{name} accuracy", accuracy, group=group, n_cells=n, note=note)
        yield _row(kind, f"{name} macro-F1", f1, group=group, n_cells=n, note=note)


def _add_intervals(
    rows: list[dict[str, Any]], cells: dict[str, np.ndarray], y: np.ndarray, n_bootstrap: int, seed: int
) -> None:
    """Intervals of the metrics that are means over cells."""
    for row in rows if n_bootstrap else ():
        values = cells.get(row["metric"])
        if row["group"] == "all" and values is not None and not np.isnan(row["value"]):
            there = ~np.isnan(values)
            strata = y[there] if row["metric"] in BY_TYPE else None
            means = resampled_means(values[there, None], n_bootstrap, np.random.default_rng(seed), strata)
            low, high = interval(means)
            row["low"], row["high"] = float(low[0]), float(high[0])


def _confusion(given: np.ndarray | None, scored: Scored) -> pd.DataFrame:
    names = np.asarray(scored.types.categories, dtype=object)
    if given is None:
        return pd.DataFrame({"truth": [], "predicted": [], "n_cells": []})
    judged = given >= 0
    pairs = pd.DataFrame({"truth": names[scored.types.codes[judged]], "predicted": names[given[judged]]})
    return pairs.value_counts().rename("n_cells").reset_index()

"""All scores of one embedding of one data set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from univerce.bench._bootstrap import Resampling
from univerce.bench._metrics import TOP, batch_ranks, macro_f1, predicted_labels, rotated, separated
from univerce.bench._result import Result, add_intervals, confusion, row, shares_of_types
from univerce.bench._scored_cells import Scored
from univerce.bench._structure_scores import ONE_BATCH, Scib, scgraph_rows, scib_rows
from univerce.bench._terms import hierarchical_rows
from univerce.embeddings.classifiers import assign_folds
from univerce.tl.alignment.silhouette_by_type import draw_evenly

N_FOLDS: Final = 5
MAX_SILHOUETTE: Final = 10_000
BY_TYPE: Final = {"silhouette"}
"""Metrics that are means over types of means over their cells."""
TOP_ACCURACY: Final = f"top {TOP[-1]} accuracy"
CLASSIFIERS: Final = {"kNN": "knn", "logistic": "logistic"}


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
    how = Resampling(n_bootstrap, seed, scored.units, unit)
    cells = {"silhouette": _silhouettes(x, y, seed)}
    rows, left_out = scib_rows(x, scored, before, scib, unit, cache)
    rows += scgraph_rows(x, scored, consensus, n_bootstrap, seed)
    rows += _silhouette_rows(cells["silhouette"], scored)
    given, in_top = predicted_labels(x, y, assign_folds(y, None, N_FOLDS, 0), "knn")
    predicted, top = {"kNN": given}, {"kNN": in_top}
    rows += _label_rows("kNN", "labels within", y, given, in_top)
    for name, method in CLASSIFIERS.items():
        if scored.batches is None:
            names = (f"transfer {name} {measure}" for measure in ("accuracy", "macro-F1", TOP_ACCURACY))
            rows += [row("labels across batches", metric, note=ONE_BATCH) for metric in names]
        else:
            given, in_top = predicted_labels(x, y, scored.batches.codes.astype(np.int64), method)
            predicted[f"transfer {name}"], top[f"transfer {name}"] = given, in_top
            rows += _label_rows(f"transfer {name}", "labels across batches", y, given, in_top, scored.batches)
    if scored.batches is None:
        rows += [row("centroids across batches", f"alignment top {k}", note=ONE_BATCH) for k in TOP]
    else:
        ranks, found = batch_ranks(x, y, scored.batches.codes)
        for k in TOP:
            rows.append(row("centroids across batches", f"alignment top {k}", **shares_of_types(ranks <= k, found)))
    cells |= {f"{n} accuracy": np.where(p < 0, np.nan, p == y) for n, p in predicted.items()}
    cells |= {f"{n} {TOP_ACCURACY}": values for n, values in top.items()}
    add_intervals(rows, cells, predicted, y, how, by_type=BY_TYPE)
    for name, given in predicted.items():
        kind = "labels across batches" if name.startswith("transfer") else "labels within"
        rows += hierarchical_rows(kind, name, scored.lines, y, given, how)
    types = np.asarray(scored.types.categories, dtype=object)
    given = predicted.get("transfer logistic", np.full(len(y), -1))
    named = {name: pd.Categorical.from_codes(codes, pd.Index(types)) for name, codes in predicted.items()}
    rows = [{"n_cells": len(x)} | r for r in rows]
    return Result(rows, cells, confusion(types, y[given >= 0], given[given >= 0]), named, left_out)


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
    name: str,
    kind: str,
    y: np.ndarray,
    given: np.ndarray,
    in_top: np.ndarray,
    batches: pd.Categorical | None = None,
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
        best = float(in_top[inside].mean()) if n else np.nan
        for measure, value in (("accuracy", accuracy), ("macro-F1", f1), (TOP_ACCURACY, best)):
            yield row(kind, f"{name} {measure}", value, group=group, n_cells=n, note=note)

"""The tables that a benchmark writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench._runs import Run
from univerce.bench._scores import COLUMNS, Result


def table_of_scores(runs: Sequence[Run], results: Mapping[str, Result]) -> pd.DataFrame:
    """The scores of all runs, what they cost, and which failed."""
    rows: list[dict[str, Any]] = []
    for r in runs:
        who = {"method": r.method.name, "seed": r.seed}
        if r.embedding is None:
            rows.append(who | {"kind": "failed", "metric": "failed", "group": "all", "note": r.reason})
            continue
        rows += [who | row for row in results[r.key()].rows]
        for metric, value in (("seconds", r.seconds), ("peak MB", r.peak_mb)):
            rows.append(who | {"kind": "cost", "metric": metric, "group": "all", "value": value})
    table = pd.DataFrame(rows, columns=COLUMNS)
    table[["note", "group"]] = table[["note", "group"]].fillna("")
    table["n_cells"] = table["n_cells"].fillna(0).astype(int)
    return table


def types_won(scores: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """The share of the types in which a method has the best silhouette, averaged over its seeds; of those that were not
    told the labels, controls apart.
    """
    peers = {r.method.name for r in runs if not (r.method.control or r.method.uses_labels)}
    mine = scores[(scores["metric"] == "silhouette") & (scores["group"] != "all") & scores["method"].isin(peers)]
    if mine.empty:
        return scores.iloc[:0]
    wide = mine.pivot_table(index="group", columns="method", values="value", sort=False)
    best = wide.eq(wide.max(axis=1), axis=0)
    won = best.div(best.sum(axis=1), axis=0).mean()
    rows = [
        {
            "method": name, "seed": int(mine["seed"].iloc[0]), "kind": "silhouette", "metric": "types won",
            "group": "all", "value": value, "low": np.nan, "high": np.nan, "n_cells": 0,
            "note": f"of {len(wide)} types",
        }
        for name, value in won.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def table_of_cells(adata: ad.AnnData, rows: np.ndarray, results: Mapping[str, Result]) -> pd.DataFrame:
    """``[n_obs, ...]`` what each cell contributed, a column for each run and metric; NaN for cells that do not
    count.
    """
    columns = {}
    for key, result in results.items():
        for metric, values in result.cells.items():
            column = np.full(adata.n_obs, np.nan, dtype=np.float32)
            column[rows] = values
            columns[f"{key}|{metric}"] = column
    return pd.DataFrame(columns, index=adata.obs_names)


def table_of_confusion(runs: Sequence[Run], results: Mapping[str, Result]) -> pd.DataFrame:
    """Truth and prediction of all runs."""
    parts = [results[r.key()].confusion.assign(method=r.method.name, seed=r.seed) for r in runs if r.key() in results]
    return pd.concat(parts, ignore_index=True)


def table_of_runs(runs: Sequence[Run], used: np.ndarray) -> pd.DataFrame:
    """A row for each run."""
    rows = []
    for run in runs:
        x = run.embedding
        known = np.zeros(len(used), bool) if x is None else np.isfinite(x).all(axis=1)
        inside = None if x is None else x[used]
        rows.append(
            {
                "method": run.method.name,
                "seed": run.seed,
                "status": "failed" if x is None else "done",
                "reason": run.reason,
                "obsm": "" if x is None else run.key(),
                "n_dims": 0 if x is None else x.shape[1],
                "n_missing": int((~known).sum()),
                "n_duplicated": 0 if inside is None else len(inside) - len(np.unique(inside, axis=0)),
                "seconds": run.seconds,
                "peak_mb": run.peak_mb,
                "cached": run.cached,
                "zero_shot": run.method.zero_shot,
                "uses_batch": run.method.uses_batch,
                "uses_labels": run.method.uses_labels,
                "control": run.method.control,
                "details": ", ".join(f"{k}={v}" for k, v in run.details.items()),
            }
        )
    return pd.DataFrame(rows)

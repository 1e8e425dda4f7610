"""The tables of a benchmark, and where they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench._method import Method
from univerce.bench._result import COLUMNS, Result
from univerce.bench._runs import Run
from univerce.bench._versions import hardware, versions

NO, POSSIBLY, UNKNOWN = "no", "possibly", "unknown"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def score_table(runs: Sequence[Run], results: Mapping[str, Result]) -> pd.DataFrame:
    """Scores and costs of all runs, and the reasons of those that failed."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        found = [{"kind": "failed", "metric": "failed", "note": run.reason}]
        if run.embedding is not None:
            costs = (("seconds", run.seconds), ("peak MB", run.peak_mb))
            found = results[run.key()].rows + [{"kind": "cost", "metric": m, "value": v} for m, v in costs]
        rows += [{"method": run.method.name, "seed": run.seed, "group": "all", "note": ""} | row for row in found]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(n_cells=table["n_cells"].fillna(0).astype(int), unit=table["unit"].astype(object).fillna(""))


def types_won(scores: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Share of the types of which a method has the best silhouette, among methods that see no labels."""
    peers = {run.method.name for run in runs if not (run.method.control or run.method.uses_labels)}
    mine = scores[(scores["metric"] == "silhouette") & (scores["group"] != "all") & scores["method"].isin(peers)]
    if mine.empty:
        return scores.iloc[:0]
    wide = mine.pivot_table(index="group", columns="method", values="value", sort=False)
    best = wide.eq(wide.max(axis=1), axis=0)
    won = best.div(best.sum(axis=1), axis=0).mean().rename("value").reset_index()
    won = won.assign(
        seed=int(mine["seed"].iloc[0]), kind="silhouette", metric="types won", group="all", unit="", n_cells=0
    )
    return won.assign(note=f"of {len(wide)} types").reindex(columns=COLUMNS).astype({"low": float, "high": float})


def write(
    adata: ad.AnnData,
    key_added: str,
    scores: pd.DataFrame,
    *,
    runs: Sequence[Run],
    results: Mapping[str, Result],
    scored: np.ndarray,
    used: np.ndarray,
    keys: Mapping[str, str],
    types: pd.DataFrame,
    params: Mapping[str, Any],
) -> None:
    """Write ``uns[key_added]``, ``obsm[f"{key_added}_cells"]`` and ``obsm[f"{key_added}_predicted"]``.

    ``scored`` are the rows of ``adata`` that are scored, ``used`` those of the embeddings, ``keys`` the keys in
    ``obsm``.
    """
    cells, predicted = {}, {}
    for key, result in results.items():
        for metric, values in result.cells.items():
            column = cells[f"{keys[key]}|{metric}"] = np.full(adata.n_obs, np.nan, dtype=np.float32)
            column[scored] = values
        for name, given in result.predicted.items():
            codes = np.full(adata.n_obs, -1)
            codes[scored] = given.codes
            predicted[f"{keys[key]}|{name}"] = pd.Categorical.from_codes(codes, given.categories)
    adata.obsm[f"{key_added}_cells"] = pd.DataFrame(cells, index=adata.obs_names)
    adata.obsm[f"{key_added}_predicted"] = pd.DataFrame(predicted, index=adata.obs_names)
    done = [run for run in runs if run.key() in results]
    confusions = [results[run.key()].confusion.assign(method=run.method.name, seed=run.seed) for run in done]
    left_out = [
        left_out.assign(method=run.method.name, seed=run.seed)
        for run in done
        if (left_out := results[run.key()].left_out) is not None
    ]
    adata.uns[key_added] = {
        "table": scores.copy(),
        "runs": pd.DataFrame(
            [
                _run_row(run, used) | {"obsm": keys.get(run.key(), ""), "has_seen": has_seen(run.method, adata)}
                for run in runs
            ]
        ),
        "types": types,
        "confusion": pd.concat(confusions, ignore_index=True),
        "params": {**params, "versions": versions(), "hardware": hardware()},
        **({"left_out": pd.concat(left_out).rename_axis("left_out").reset_index()} if left_out else {}),
    }


def _run_row(run: Run, used: np.ndarray) -> dict[str, Any]:
    method, x = run.method, run.embedding
    row: dict[str, Any] = {"method": method.name, "seed": run.seed, "status": "failed", "reason": run.reason}
    row |= {"obsm": "", "n_dims": 0, "n_missing": 0, "n_duplicated": 0}
    if x is not None:
        n_missing = int((~np.isfinite(x).all(axis=1)).sum())
        n_duplicated = len(used) - len(np.unique(x[used], axis=0))
        row |= {"status": "done", "n_dims": x.shape[1], "n_missing": n_missing, "n_duplicated": n_duplicated}
    row |= {"seconds": run.seconds, "peak_mb": run.peak_mb, "cached": run.cached}
    row |= {name: getattr(method, name) for name in ("zero_shot", "uses_batch", "uses_labels", "control")}
    return row | {"details": ", ".join(f"{k}={v}" for k, v in run.details.items())}


def has_seen(method: Method, adata: ad.AnnData) -> str:
    """The ids of the data sets that the method was trained on, separated by ``" | "``, or what else is known.

    ``"no"`` if nothing is pretrained, or all cells have the ids of data sets of CELLxGENE and none is in the corpus;
    ``"possibly"`` if corpus and data are both of CELLxGENE and one of them has no ids; otherwise ``"unknown"``.
    """
    corpus, texts = method.pretrained_on, [str(adata.uns.get(key, "")) for key in ("citation", "schema_reference")]
    if not corpus:
        return NO
    column = adata.obs.get("dataset_id")
    own = [str(adata.uns["dataset_id"])] if "dataset_id" in adata.uns else []
    own = own if column is None else [str(name) for name in column.dropna().unique()]
    listed = set() if isinstance(corpus, str) else set(map(str, corpus))
    found = [name for name in dict.fromkeys([*own, *_ID.findall(texts[0])]) if name in listed]
    if found:
        return " | ".join(found)
    if listed and own and all(map(_ID.fullmatch, own)) and (column is None or column.notna().all()):
        return NO
    of_cellxgene = "cellxgene" in " ".join(texts).lower()
    return POSSIBLY if of_cellxgene and (listed or "CELLxGENE" in corpus) else UNKNOWN

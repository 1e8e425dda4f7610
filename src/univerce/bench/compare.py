"""Compare two methods of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._validate import as_seed, check_in_memory, check_whole
from univerce.bench._bootstrap import CELLS, MIN_UNITS, read_units
from univerce.bench._embedding_scores import BY_TYPE
from univerce.bench._paired import paired_f1, paired_means, paired_totals
from univerce.bench._scib import TOTALS
from univerce.embeddings.labels import get_labels

_COLUMNS = [
    "metric", "a", "b", "value_a", "value_b", "difference", "low", "high", "winner", "superiority", "superiority_low",
    "superiority_high", "unit", "n_units", "n_cells", "note",
]  # fmt: skip


@document
def compare(
    adata: ad.AnnData,
    a: str,
    b: str,
    *,
    key: str = "benchmark",
    donor_key: str | None = None,
    n_bootstrap: int = 2000,
    rng: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Compare two methods on the same cells by a paired bootstrap over donors or batches.

    Scores vary far more between donors than between cells of one donor. Donors are therefore resampled with all their
    cells, jointly for both methods, together with the seeds of each method. A winner is named if the interval excludes
    0, which happens in about 5 % of comparisons of equally good methods.

    With fewer than five donors or batches their spread cannot be estimated: cells are resampled, the interval holds for
    these donors only, and no winner is named. The totals of scIB are compared by the scores without each donor or batch
    (jackknife), if the benchmark has them (``scib="intervals"``). Shares of types are not compared, because they have
    only one value per type.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.bench.run`, or the query after :func:`univerce.bench.run_transfer`.
    a, b
        Names of the two methods, as in the column ``method`` of the scores.
    key
        Key of the benchmark in ``uns``: the ``key_added`` of the call that computed it.
    donor_key
        Column of ``obs`` with the donors or batches; ``None`` takes the ``unit`` of the benchmark.
    n_bootstrap
        Number of times that donors or cells are resampled.
    %(rng)s

    Returns
    -------
    A row for each ``metric``: the means ``value_a`` and ``value_b``, their ``difference`` (a - b) with the 95 %
    interval ``low`` to ``high``, the ``winner`` (empty if there is none), the ``superiority``, which is the probability
    that ``a`` is better in a donor (ties count half), with the interval ``superiority_low`` to ``superiority_high``
    (Clopper-Pearson), the ``unit``, ``n_units`` of it, ``n_cells``, and a ``note``.

    Raises
    ------
    KeyError
        If ``uns[key]`` is not a benchmark, or the column does not exist.
    ValueError
        If a method was not run or failed, or both are the same.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["donor"] = [f"donor {i % 6}" for i in range(adata.n_obs)]
    >>> _ = uc.bench.run(
    ...     adata, groupby="cell_type", donor_key="donor", methods=["PCA", "random"], seeds=[0], scib=False
    ... )
    >>> pairs = uc.bench.compare(adata, "PCA", "random").set_index("metric")
    >>> pairs.loc["kNN accuracy", "winner"], float(pairs.loc["kNN accuracy", "superiority"])
    ('PCA', 1.0)
    """
    check_in_memory(adata)
    if key not in adata.uns or f"{key}_cells" not in adata.obsm:
        raise KeyError(
            f"adata.uns[{key!r}] is not a benchmark; its keys are: {', '.join(map(repr, adata.uns)) or 'none'}. Call "
            "uc.bench.run first, or pass key=."
        )
    check_whole("n_bootstrap", n_bootstrap, 1)
    if a == b:
        raise ValueError(f"{a!r} is compared with itself; pass two methods.")
    found, cells = adata.uns[key], adata.obsm[f"{key}_cells"]
    sides = [_runs_of(found["runs"], name) for name in (a, b)]
    types = get_labels(adata.obs, str(found["params"]["groupby"]))
    unit = donor_key or str(found["params"].get("unit", CELLS))
    units = None if unit == CELLS else read_units(adata.obs, unit)
    random = np.random.default_rng(as_seed(rng))
    rows: list[dict[str, Any]] = []
    for metric in dict.fromkeys(column.split("|")[1] for column in cells):
        x, y = (cells[[f"{run}|{metric}" for run in side]].to_numpy(np.float64) for side in sides)
        judged = ~np.isnan(np.hstack([x, y])).any(axis=1)
        if judged.any():
            strata = types.codes[judged] if metric in BY_TYPE else np.zeros(judged.sum(), dtype=np.int64)
            here = None if units is None else units[judged]
            row = paired_means(x[judged], y[judged], strata, here, unit, n_bootstrap, random)
            rows.append({"metric": metric, **row})
    predicted = adata.obsm.get(f"{key}_predicted", pd.DataFrame())
    for name in dict.fromkeys(column.split("|")[1] for column in predicted):
        x, y = (_codes(predicted, side, name, types) for side in sides)
        judged = (np.hstack([x, y]) >= 0).all(axis=1)
        if judged.any():
            here = None if units is None else units[judged]
            row = paired_f1(types.codes[judged], x[judged], y[judged], here, unit, n_bootstrap, random)
            rows.append({"metric": f"{name} macro-F1", **row})
    scores, left_out = found["table"], found.get("left_out", pd.DataFrame({"method": []}))
    for metric in TOTALS:
        total = scores[scores["metric"] == metric]
        values = [float(total.loc[total["method"] == name, "value"].mean()) for name in (a, b)]
        if not np.isnan(values).any():
            without = [left_out[left_out["method"] == name] for name in (a, b)]
            series = [part.groupby("left_out")[metric].mean() if len(part) else pd.Series() for part in without]
            row = paired_totals(values, series, str(found["params"]["unit"]))
            rows.append({"metric": metric, "n_cells": int(total["n_cells"].max()), **row})
    table = pd.DataFrame(rows, columns=_COLUMNS).assign(a=a, b=b)
    text = {name: table[name].astype(object).fillna("") for name in ("unit", "note")}
    better = np.where(table["difference"] > 0, a, b)
    certain = (table["n_units"] >= MIN_UNITS) & ((table["low"] > 0) | (table["high"] < 0))
    return table.assign(winner=np.where(certain, better, ""), n_units=table["n_units"].fillna(0).astype(int), **text)


def _runs_of(runs: pd.DataFrame, name: str) -> list[str]:
    mine = runs[(runs["method"] == name) & (runs["status"] == "done")]
    if mine.empty:
        done = runs.loc[runs["status"] == "done", "method"].unique()
        raise ValueError(f"{name!r} has no embedding in this benchmark; the methods are {', '.join(map(repr, done))}.")
    return list(mine["obsm"])


def _codes(predicted: pd.DataFrame, runs: Sequence[str], name: str, types: pd.Categorical) -> np.ndarray:
    """``[n_obs, n_runs]`` types that a classifier predicted, as codes of ``types``, -1 for none."""
    columns = [pd.Categorical(predicted[f"{run}|{name}"], categories=types.categories).codes for run in runs]
    return np.column_stack(columns).astype(np.int64)

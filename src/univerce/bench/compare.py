"""Compare two methods of a benchmark."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._validate import as_seed, check_whole
from univerce.bench._bootstrap import (
    CELLS,
    MIN_UNITS,
    clopper_pearson,
    confidence_interval,
    enough_units,
    read_units,
    resampled_means,
    stratified_mean,
)
from univerce.bench._embedding_scores import BY_TYPE
from univerce.bench._scib import TOTALS
from univerce.embeddings.labels import get_labels

_COLUMNS = [
    "metric", "a", "b", "value_a", "value_b", "difference", "low", "high", "winner", "superiority", "superiority_low",
    "superiority_high", "unit", "n_units", "n_cells", "note",
]  # fmt: skip
_DIGITS = 9


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

    Methods differ by chance between donors, far more than between cells of one donor. So donors are drawn with
    replacement with their cells, the same for both methods, and the seeds of each method with several. A winner is
    named if the interval excludes 0, which for equally good methods happens in about 5 % of comparisons.

    With fewer than five donors or batches their spread cannot be estimated: cells are resampled, the interval holds for
    these donors only, and no winner is named. The totals of scIB are not means over cells and have no interval.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.bench.run`, or the query after :func:`univerce.bench.run_transfer`.
    a, b
        Names of two methods.
    key
        Its ``key_added``.
    donor_key
        Column of ``obs`` with the donors or batches; ``None`` takes the ``unit`` of the benchmark.
    n_bootstrap
        Number of resamples.
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
    types = get_labels(adata.obs, str(found["params"]["groupby"])).codes.astype(np.int64)
    unit = donor_key or str(found["params"].get("unit", CELLS))
    units = None if unit == CELLS else read_units(adata.obs, unit)
    random = np.random.default_rng(as_seed(rng))
    metrics = dict.fromkeys(column.split("|")[1] for column in cells)
    rows: list[dict[str, Any]] = []
    for metric in metrics:
        x, y = (cells[[f"{run}|{metric}" for run in side]].to_numpy(np.float64) for side in sides)
        judged = ~np.isnan(np.hstack([x, y])).any(axis=1)
        if judged.any():
            strata = types[judged] if metric in BY_TYPE else np.zeros(judged.sum(), dtype=np.int64)
            here = None if units is None else units[judged]
            rows.append({"metric": metric, **_paired(x[judged], y[judged], strata, here, unit, n_bootstrap, random)})
    scores = found["table"]
    for metric in TOTALS:
        total = scores[scores["metric"] == metric]
        values = [float(total.loc[total["method"] == name, "value"].mean()) for name in (a, b)]
        if not np.isnan(values).any():
            rows.append(
                {"metric": metric, "value_a": values[0], "value_b": values[1], "difference": values[0] - values[1]}
                | {"n_cells": int(total["n_cells"].max()), "note": "no mean over cells"}
            )
    table = pd.DataFrame(rows, columns=_COLUMNS).assign(a=a, b=b)
    text = {"unit": table["unit"].fillna(""), "note": table["note"].fillna("")}
    better = np.where(table["difference"] > 0, a, b)
    certain = (table["n_units"] >= MIN_UNITS) & ((table["low"] > 0) | (table["high"] < 0))
    return table.assign(winner=np.where(certain, better, ""), n_units=table["n_units"].fillna(0).astype(int), **text)


def _runs_of(runs: pd.DataFrame, name: str) -> list[str]:
    mine = runs[(runs["method"] == name) & (runs["status"] == "done")]
    if mine.empty:
        done = runs.loc[runs["status"] == "done", "method"].unique()
        raise ValueError(f"{name!r} has no embedding in this benchmark; the methods are {', '.join(map(repr, done))}.")
    return list(mine["obsm"])


def _paired(
    x: np.ndarray,
    y: np.ndarray,
    strata: np.ndarray,
    units: np.ndarray | None,
    unit: str,
    n: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Compare scores ``[n_cells, n_seeds]`` of two methods over resampled units, cells and seeds."""
    n_units = 0 if units is None else len(np.unique(units))
    enough = enough_units(units)
    of_x, of_y = (rng.multinomial(k := s.shape[1], np.full(k, 1 / k), size=n) / k for s in (x, y))
    drawn = resampled_means(np.hstack([x, -y]), strata, enough, np.hstack([of_x, of_y]), rng)
    value_a, value_b = (stratified_mean(s.mean(axis=1), strata) for s in (x, y))
    low, high = confidence_interval(drawn, value_a - value_b, enough)
    row: dict[str, Any] = {"value_a": value_a, "value_b": value_b, "difference": value_a - value_b}
    row |= {"low": low, "high": high}
    row |= {"unit": CELLS if enough is None else unit, "n_units": n_units, "n_cells": len(x)}
    if units is None:
        return row | {"note": "cells of unknown donors: pass donor_key="}
    gap = (x.mean(axis=1) - y.mean(axis=1)).round(_DIGITS)
    by_unit = np.array([stratified_mean(gap[here], strata[here]) for here in (units == u for u in np.unique(units))])
    wins = float((by_unit > 0).sum() + (by_unit == 0).sum() / 2)
    share = dict(zip(("superiority_low", "superiority_high"), clopper_pearson(wins, n_units), strict=True))
    note = "" if enough is not None else f"{n_units} of {unit!r}, too few to resample: holds for these only"
    return row | {"superiority": wins / n_units, **share, "note": note}

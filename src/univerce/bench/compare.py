"""Compare two methods of a benchmark."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._validate import as_seed, check_whole
from univerce.bench._scib import TOTALS
from univerce.bench._scores import BY_TYPE
from univerce.embeddings.labels import get_labels


@document
def compare(
    adata: ad.AnnData,
    a: str,
    b: str,
    *,
    key: str = "benchmark",
    n_bootstrap: int = 2000,
    rng: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Compare two methods on the same cells by a paired bootstrap.

    Cells, and the seeds of each method with several, are drawn with replacement, the same cells for both methods. The
    interval holds for these cells and seeds, not for other data sets, and ignores that cells of one donor are similar.
    The totals of scIB are not means over cells and have no interval.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.bench.run`, or the query after :func:`univerce.bench.run_transfer`.
    a, b
        Names of two methods.
    key
        Its ``key_added``.
    n_bootstrap
        Number of resamples.
    %(rng)s

    Returns
    -------
    A row for each ``metric``: the means ``value_a`` and ``value_b``, their ``difference`` (a - b), its 95 % interval
    ``low`` to ``high``, the ``winner`` (empty if the interval contains 0 or there is none), ``sure``, the share of the
    resamples with the sign of the difference, and ``n_cells``.

    Raises
    ------
    KeyError
        If ``uns[key]`` is not a benchmark.
    ValueError
        If a method was not run or failed, or both are the same.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> _ = uc.bench.run(adata, groupby="cell_type", methods=["PCA", "random"], seeds=[0], scib=False)
    >>> pairs = uc.bench.compare(adata, "PCA", "random").set_index("metric")
    >>> pairs.loc["kNN accuracy", "winner"], float(pairs.loc["kNN accuracy", "sure"])
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
    types = np.asarray(get_labels(adata.obs, str(found["params"]["groupby"])), dtype=object)
    random = np.random.default_rng(as_seed(rng))
    metrics = dict.fromkeys(column.split("|")[1] for column in cells)
    rows = []
    for metric in metrics:
        x, y = (cells[[f"{run}|{metric}" for run in side]].to_numpy(np.float64) for side in sides)
        judged = ~np.isnan(np.hstack([x, y])).any(axis=1)
        if not judged.any():
            continue
        strata = types[judged] if metric in BY_TYPE else np.zeros(judged.sum(), dtype=int)
        values, drawn = _paired(x[judged], y[judged], strata, n_bootstrap, random)
        low, high = np.quantile(drawn, [0.025, 0.975])
        difference = values[0] - values[1]
        winner = "" if low <= 0 <= high else a if difference > 0 else b
        sure = float((np.sign(drawn) == np.sign(difference)).mean()) if difference else np.nan
        rows.append((metric, a, b, *values, difference, low, high, winner, sure, int(judged.sum())))
    scores = found["table"]
    for metric in TOTALS:
        here = scores[scores["metric"] == metric]
        values = [float(here.loc[here["method"] == name, "value"].mean()) for name in (a, b)]
        if not np.isnan(values).any():
            unknown = np.nan, np.nan, "", np.nan
            rows.append((metric, a, b, *values, values[0] - values[1], *unknown, int(here["n_cells"].max())))
    columns = ["metric", "a", "b", "value_a", "value_b", "difference", "low", "high", "winner", "sure", "n_cells"]
    return pd.DataFrame(rows, columns=columns)


def _runs_of(runs: pd.DataFrame, name: str) -> list[str]:
    mine = runs[(runs["method"] == name) & (runs["status"] == "done")]
    if mine.empty:
        done = runs.loc[runs["status"] == "done", "method"].unique()
        raise ValueError(f"{name!r} has no embedding in this benchmark; the methods are {', '.join(map(repr, done))}.")
    return list(mine["obsm"])


def _paired(
    x: np.ndarray, y: np.ndarray, strata: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[list[float], np.ndarray]:
    """The two means, and ``[n]`` differences of means over resampled cells of each stratum and resampled seeds."""
    groups = [np.flatnonzero(strata == s) for s in np.unique(strata)]
    values = [float(np.mean([side[g].mean() for g in groups])) for side in (x, y)]
    drawn = np.empty(n)
    for i in range(n):
        seeds_x, seeds_y = (s @ rng.multinomial(k := s.shape[1], np.full(k, 1 / k)) / k for s in (x, y))
        difference = seeds_x - seeds_y
        drawn[i] = np.mean([difference[g[rng.integers(len(g), size=len(g))]].mean() for g in groups])
    return values, drawn

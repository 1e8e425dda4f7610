"""Random pairs of cells, their distances, and how those differ from group to group. Arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

_BLOCK_PAIRS = 8192
_GRID = 200


def draw_pairs(n: int, n_pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``[n_pairs]`` twice: pairs of different cells, each as likely as any other."""
    first = rng.integers(n, size=n_pairs)
    second = rng.integers(n - 1, size=n_pairs)
    return first, second + (second >= first)


def pair_distances(points: np.ndarray, first: np.ndarray, second: np.ndarray, metric: str) -> np.ndarray:
    """``[n_pairs]`` Euclidean or cosine distances between rows of ``points``, none of which is zero for the cosine."""
    out = np.empty(len(first))
    for start in range(0, len(first), _BLOCK_PAIRS):
        rows = slice(start, start + _BLOCK_PAIRS)
        a, b = (points[side[rows]].astype(np.float64) for side in (first, second))
        if metric == "cosine":
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            out[rows] = 1 - np.einsum("ij,ij->i", a, b) / norms
        else:
            out[rows] = np.linalg.norm(a - b, axis=1)
    return out


def successive(groups: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """Each group's distribution, and how it lies above that of the group before.

    Parameters
    ----------
    groups
        ``[n]`` ontology distances.
    values
        ``[n]`` distances in the embedding.

    Returns
    -------
    A row for each group in ascending order; ``t`` and ``p_value`` are Welch's, one-sided, and ``d`` is Cohen's, with
    the pooled standard deviation.
    """
    from scipy.stats import ttest_ind

    rows: list[dict[str, Any]] = []
    before = np.empty(0)
    for group in np.unique(groups):
        here = values[groups == group]
        row: dict[str, Any] = {"ontology_distance": int(group), "n_pairs": len(here), "mean": here.mean()}
        row["std"] = here.std(ddof=1) if len(here) > 1 else np.nan
        for name, q in (("q05", 0.05), ("q25", 0.25), ("median", 0.5), ("q75", 0.75), ("q95", 0.95)):
            row[name] = np.quantile(here, q)
        row |= dict.fromkeys(("t", "p_value", "d"), np.nan)
        if min(len(here), len(before)) > 1 and (spread := _pooled(here, before)) > 0:
            test = ttest_ind(here, before, equal_var=False, alternative="greater")
            row |= {"t": test.statistic, "p_value": test.pvalue, "d": (here.mean() - before.mean()) / spread}
        rows.append(row)
        before = here
    return pd.DataFrame(rows)


def _pooled(a: np.ndarray, b: np.ndarray) -> float:
    squares = (len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)
    return float(np.sqrt(squares / (len(a) + len(b) - 2)))


def density(groups: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """Gaussian kernel densities of the values of each group, on one grid.

    Returns
    -------
    ``[200, 1 + n_groups]``: the grid in ``x``, and a column for each group, NaN for one that does not vary.
    """
    from scipy.stats import gaussian_kde

    margin = 0.05 * (np.ptp(values) or 1)
    grid = np.linspace(values.min() - margin, values.max() + margin, _GRID)
    out = {"x": grid}
    for group in np.unique(groups):
        here = values[groups == group]
        varies = len(here) > 1 and np.ptp(here) > 0
        out[str(int(group))] = gaussian_kde(here)(grid) if varies else np.full(_GRID, np.nan)
    return pd.DataFrame(out)


def type_means(a: np.ndarray, b: np.ndarray, steps: np.ndarray, apart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ontology distance and mean distance of every two different types that a pair was drawn of."""
    pairs = pd.DataFrame({"a": np.minimum(a, b), "b": np.maximum(a, b), "steps": steps, "apart": apart})
    means = pairs[a != b].groupby(["a", "b"]).mean()
    return means["steps"].to_numpy(), means["apart"].to_numpy()

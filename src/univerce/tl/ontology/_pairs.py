"""Random pairs of cells, their distances, and differences between groups of pairs. Arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

_BLOCK_PAIRS = 8192
_GRID = 200
_QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


def draw_pairs(n: int, n_pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``[n_pairs]`` twice: pairs of different cells, all equally likely."""
    first = rng.integers(n, size=n_pairs)
    second = rng.integers(n - 1, size=n_pairs)
    return first, second + (second >= first)


def pair_distances(points: np.ndarray, first: np.ndarray, second: np.ndarray, metric: str) -> np.ndarray:
    """``[n_pairs]`` Euclidean or cosine distances between rows of ``points``."""
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


def summarize_by_distance(groups: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """Describe the values ``[n]`` of each of the groups ``[n]``, and compare each group with the one before.

    ``t`` and ``p_value`` are of Welch's one-sided test, ``d`` is Cohen's with the pooled standard deviation.
    """
    from scipy.stats import ttest_ind

    rows: list[dict[str, Any]] = []
    before = np.empty(0)
    for group in np.unique(groups):
        here = values[groups == group]
        row: dict[str, Any] = {"ontology_distance": int(group), "n_pairs": len(here), "mean": here.mean()}
        row["std"] = here.std(ddof=1) if len(here) > 1 else np.nan
        row |= zip(_QUANTILES, np.quantile(here, list(_QUANTILES.values())), strict=True)
        row |= dict.fromkeys(("t", "p_value", "d"), np.nan)
        n, m = len(here), len(before)
        if min(n, m) > 1 and (spread := np.sqrt((n * here.var() + m * before.var()) / (n + m - 2))) > 0:
            test = ttest_ind(here, before, equal_var=False, alternative="greater")
            row |= {"t": test.statistic, "p_value": test.pvalue, "d": (here.mean() - before.mean()) / spread}
        rows.append(row)
        before = here
    return pd.DataFrame(rows)


def density(groups: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """``[200, 1 + n_groups]`` Gaussian kernel densities on the grid ``x``, NaN for a group without variance."""
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
    """Ontology distance and mean distance in the embedding of every two different types among the pairs."""
    pairs = pd.DataFrame({"a": np.minimum(a, b), "b": np.maximum(a, b), "steps": steps, "apart": apart})
    means = pairs[a != b].groupby(["a", "b"]).mean()
    return means["steps"].to_numpy(), means["apart"].to_numpy()


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation; NaN if one side is constant."""
    from scipy.stats import spearmanr

    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)

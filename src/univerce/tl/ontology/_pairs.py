"""Random pairs of cells and their distances. Arrays in, arrays out."""

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
    """Describe the values ``[n]`` of each of the groups ``[n]``."""
    rows: list[dict[str, Any]] = []
    for group in np.unique(groups):
        here = values[groups == group]
        row: dict[str, Any] = {"ontology_distance": int(group), "n_pairs": len(here), "mean": here.mean()}
        row["std"] = here.std(ddof=1) if len(here) > 1 else np.nan
        rows.append(row | dict(zip(_QUANTILES, np.quantile(here, list(_QUANTILES.values())), strict=True)))
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

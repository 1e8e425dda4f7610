"""Pairs of cells, and differences between successive ontology distances, with types as the unit. Arrays in, arrays out.

Pairs of cells share cells and types. Only the types are independent: shuffles deal the terms to the types again, and
resamples draw the types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_BLOCK, _PAIRS = 2_000_000, 8192  # entries and pairs in memory at a time
_GRID = 200
_QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


@dataclass(frozen=True, eq=False)
class TypePairs:
    """Pairs of cells, summed for every two types, a type with itself included."""

    steps: np.ndarray
    """``[n_types, n_types]`` ontology distance, infinite if not connected."""
    a: np.ndarray
    b: np.ndarray
    """``[n]`` the two types, ``a <= b``."""
    n: np.ndarray
    """``[n]`` pairs of cells."""
    total: np.ndarray
    """``[n]`` sum of their distances in the embedding."""
    squares: np.ndarray
    """``[n]`` sum of the squares of these."""

    @classmethod
    def sum(cls, steps: np.ndarray, a: np.ndarray, b: np.ndarray, apart: np.ndarray) -> TypePairs:
        """Sum distances ``apart`` ``[n_pairs]`` of cells of the types ``a`` and ``b`` ``[n_pairs]``."""
        k = len(steps)
        flat = np.minimum(a, b) * k + np.maximum(a, b)
        sums = [np.bincount(flat, weights=w, minlength=k * k) for w in (None, apart, apart**2)]
        there = np.flatnonzero(sums[0])
        return cls(steps, there // k, there % k, *(x[there].astype(float) for x in sums))

    def effects(self, steps: np.ndarray, weights: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """``[m, len(distances) - 1]`` Cohen's d of each distance and the one before, by pooled standard deviation.

        ``steps`` and ``weights`` ``[m, n]`` are the ontology distance of each pair of types and how often it counts.
        NaN where a distance has fewer than two pairs of cells.
        """
        m, k = len(steps), len(distances)
        place = np.searchsorted(distances, steps)
        place[~np.isin(steps, distances)] = k
        place += (k + 1) * np.arange(m)[:, None]
        sums = [
            np.bincount(place.ravel(), np.broadcast_to(x * weights, place.shape).ravel(), m * (k + 1))
            for x in (self.n, self.total, self.squares)
        ]
        n, total, squares = (x.reshape(m, k + 1)[:, :k] for x in sums)
        mean = np.divide(total, n, out=np.zeros_like(n), where=n > 0)
        within = np.maximum(squares - n * mean**2, 0)
        both, freedom = within[:, 1:] + within[:, :-1], n[:, 1:] + n[:, :-1] - 2
        usable = (n[:, 1:] > 1) & (n[:, :-1] > 1) & (both > 1e-12 * (squares[:, 1:] + squares[:, :-1]))
        spread = np.sqrt(np.divide(both, freedom, out=np.ones_like(both), where=usable))
        return np.where(usable, np.diff(mean, axis=1) / spread, np.nan)

    def gaps(self, steps: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """``[m, len(distances) - 1]`` how much larger the mean of each distance is than of the one before.

        Every pair of different types counts once, so that the sizes of the types do not matter; NaN for none.
        """
        different = self.a != self.b
        steps, mean = steps[:, different], (self.total / self.n)[different]
        here = steps[:, None, :] == distances[:, None]
        n = here.sum(axis=2)
        return np.diff(np.divide(here @ mean, n, out=np.full(n.shape, np.nan), where=n > 0), axis=1)

    def spearman(self, steps: np.ndarray) -> np.ndarray:
        """``[m]`` rank correlation of ``steps`` ``[m, n]`` and the mean distance, over pairs of different types."""
        different = self.a != self.b
        return spearman(steps[:, different], self.total[different] / self.n[different])


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``[m]`` Spearman's rank correlation of each row of ``a`` ``[m, n]`` with ``b``; NaN if one is constant."""
    from scipy.stats import rankdata

    if a.shape[1] < 2:
        return np.full(len(a), np.nan)
    x, y = rankdata(a, axis=1), rankdata(b)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean()
    with np.errstate(invalid="ignore"):
        return np.asarray(x @ y / np.sqrt((x**2).sum(axis=1) * (y @ y)))


def compare_steps(
    pairs: TypePairs, distances: np.ndarray, n_permutations: int, n_bootstrap: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Effect of each distance with interval and p-value, and the correlation over pairs of types with its own.

    P-values are one-sided, (1 + shuffles at least as large) / (1 + shuffles), of the difference of means over pairs of
    types. Distance 0 lies within a term, which no shuffle changes, so the step from it has none.
    """
    k, one = len(pairs.steps), np.ones((1, len(pairs.n)))
    as_it_is = pairs.steps[pairs.a, pairs.b][None]
    d = pairs.effects(as_it_is, one, distances)[0]
    observed = np.append(pairs.gaps(as_it_is, distances), pairs.spearman(as_it_is))
    null = np.empty((n_permutations, len(observed)))
    drawn = np.empty((n_bootstrap, len(observed) - 1))
    for rows in _blocks(n_permutations, len(pairs.n) * len(distances)):
        order = rng.permuted(np.tile(np.arange(k), (len(null[rows]), 1)), axis=1)
        steps = pairs.steps[order[:, pairs.a], order[:, pairs.b]]
        null[rows] = np.column_stack([pairs.gaps(steps, distances), pairs.spearman(steps)])
    for rows in _blocks(n_bootstrap, len(pairs.n)):
        times = rng.multinomial(k, np.full(k, 1 / k), size=len(drawn[rows])).astype(float)
        of_b = np.where(pairs.a == pairs.b, 1, times[:, pairs.b])  # a type and its copy are one type
        both = times[:, pairs.a] * of_b
        drawn[rows] = pairs.effects(np.broadcast_to(as_it_is, both.shape), both, distances)
    defined = ~np.isnan(null)
    reached = (defined & (np.nan_to_num(null) >= observed - 1e-12)).sum(axis=0)
    p = np.where(np.isnan(observed) | (n_permutations == 0), np.nan, (1 + reached) / (1 + defined.sum(axis=0)))
    p[:-1][distances[:-1] == 0] = np.nan
    bounds = np.full((drawn.shape[1], 2), np.nan)
    for bound, x in zip(bounds, drawn.T, strict=True):
        if (known := x[~np.isnan(x)]).size:
            bound[:] = np.quantile(known, [0.025, 0.975])
    low, high = bounds.T
    table = pd.DataFrame({"d": d, "d_low": low, "d_high": high, "p_value": p[:-1]})
    table = table.reindex(range(-1, len(table))).reset_index(drop=True)
    return table, {"spearman": float(observed[-1]), "p_value": float(p[-1])}


def _blocks(n: int, width: int) -> Iterator[slice]:
    step = max(_BLOCK // max(width, 1), 1)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def draw_pairs(n: int, n_pairs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """``[n_pairs]`` twice: pairs of different cells, all equally likely."""
    first = rng.integers(n, size=n_pairs)
    second = rng.integers(n - 1, size=n_pairs)
    return first, second + (second >= first)


def pair_distances(points: np.ndarray, first: np.ndarray, second: np.ndarray, metric: str) -> np.ndarray:
    """``[n_pairs]`` Euclidean or cosine distances between rows of ``points``."""
    out = np.empty(len(first))
    for start in range(0, len(first), _PAIRS):
        rows = slice(start, start + _PAIRS)
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

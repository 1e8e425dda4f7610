"""Intervals of means over cells: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 2_000_000  # draws in memory at a time


def resampled_means(
    values: np.ndarray, n: int, rng: np.random.Generator, strata: np.ndarray | None = None
) -> np.ndarray:
    """``[n, m]`` means of the columns of ``values`` [n_cells, m] over cells drawn with replacement, the same for all.

    With ``strata`` [n_cells] cells are drawn within each of them, and the mean is that of the means of the strata.
    """
    values = np.asarray(values, np.float64)
    if strata is None:
        return np.concatenate(list(_blocks(values, n, rng)))
    return np.mean([resampled_means(values[strata == s], n, rng) for s in np.unique(strata)], axis=0)


def _blocks(values: np.ndarray, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    n_cells = len(values)
    step = max(1, _BLOCK // n_cells)
    share = np.full(n_cells, 1 / n_cells)
    for start in range(0, n, step):
        copies = rng.multinomial(n_cells, share, size=min(step, n - start))
        yield copies @ values / n_cells


def interval(means: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The middle ``level`` of each column (percentile bootstrap)."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high

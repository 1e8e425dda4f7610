"""Distances to the k-th nearest reference cell, and those of reference cells to calibrate them."""

from __future__ import annotations

from typing import Any

import numpy as np

from univerce._settings import progress_bar
from univerce.embeddings.cells import Cells
from univerce.embeddings.neighbors import exact_neighbors
from univerce.inference.sentences import shuffled_rows
from univerce.io.intact import read_rows

_DRAW_CALIBRATION = -4


def p_values(distance: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Conformal p-values ``[n]`` among the sorted ``calibration``; NaN stays NaN."""
    below = np.searchsorted(calibration, distance, side="left")
    p = (1 + len(calibration) - below) / (1 + len(calibration))
    return np.where(np.isnan(distance), np.nan, p)


def neighbor_distances(values: Any, cells: Cells, k: int) -> np.ndarray:
    """``[n]`` float32 distance to the k-th nearest of the cells."""
    pairs = values.shape[0] * len(cells)
    with progress_bar(total=pairs, unit="pair", unit_scale=True, desc="score") as bar:
        return exact_neighbors(values, cells.values, k, done=bar.update)[1][:, -1]


def calibrate(cells: Cells, k: int, batch_key: str | None, n_calibration: int, seed: int) -> np.ndarray:
    """Sorted distances of reference cells to their k-th nearest other cell, or cell of another batch."""
    if (n_known := int(cells.known.sum())) <= k:
        raise ValueError(f"The reference has {n_known} cells with an embedding; n_neighbors={k} needs {k + 1} or more.")
    drawn = shuffled_rows(cells.names, np.flatnonzero(cells.known), seed, draw=_DRAW_CALIBRATION)
    chosen = np.sort(drawn[:n_calibration])
    points = cells.rows(chosen)
    if batch_key is None:  # the nearest cell is the cell itself, or a copy of it
        return np.sort(exact_neighbors(points, cells.values, k + 1)[1][:, -1])
    batches = cells.labels(batch_key)
    distances = []
    for code in np.unique(batches.codes[chosen]):
        inside = np.asarray(batches.codes == code)
        if (n_outside := int((cells.known & ~inside).sum())) < k:
            name = "cells without a batch" if code < 0 else repr(batches.categories[code])
            raise ValueError(
                f"Outside of {name} the reference has {n_outside} cells with an embedding; n_neighbors={k} needs {k}. "
                f"Leave batch_key={batch_key!r} out, or lower n_neighbors."
            )
        distances.append(exact_neighbors(points[inside[chosen]], _Masked(cells.values, inside), k)[1][:, -1])
    return np.sort(np.concatenate(distances))


class _Masked:
    """An embedding with some rows masked as NaN, read by slicing."""

    def __init__(self, values: Any, masked: np.ndarray) -> None:
        self.values, self.masked, self.shape = values, masked, values.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        block = np.array(read_rows(self.values, rows))
        block[self.masked[rows]] = np.nan
        return block

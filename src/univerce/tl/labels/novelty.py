"""How far a cell is from the centroid of its label, among held-out cells of that label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from univerce.embeddings.classifiers import class_means
from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows

_LEVELS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Novelty:
    """Centroids of the labels, and the distances of held-out cells to them."""

    center: np.ndarray
    """``[n_classes, n_dims]`` float32."""
    distance: np.ndarray
    """``[n_classes, 101]`` quantiles of the Euclidean distance of held-out cells to the centroid of the other folds."""

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray, n_classes: int, folds: np.ndarray, held: np.ndarray) -> Novelty:
        """Fit; cells that are not ``held`` out are compared with the centroid of all."""
        center = class_means(x, y, n_classes)
        found = distances(x, center, y)
        for fold in np.unique(folds[held]):
            here = held & (folds == fold)
            found[here] = distances(x[here], class_means(x, np.where(folds != fold, y, -1), n_classes), y[here])
        quantiles = np.zeros((n_classes, len(_LEVELS)), dtype=np.float32)
        for k in range(n_classes):
            mine = y == k
            quantiles[k] = np.quantile(found[mine & held] if (mine & held).any() else found[mine], _LEVELS)
        return cls(center.astype(np.float32), quantiles)

    def score(self, x: np.ndarray, best: np.ndarray) -> np.ndarray:
        """``[n]`` share of the held-out cells of label ``best`` ``[n]`` that are nearer to its centroid, float32."""
        found = distances(x, self.center, best)
        out = np.zeros(len(x), dtype=np.float32)
        for k in np.unique(best):
            mine = best == k
            out[mine] = np.interp(found[mine], self.distance[k], _LEVELS)
        return out


def distances(x: np.ndarray, center: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``[n]`` Euclidean distance of each cell to the center of its class."""
    out = np.empty(len(x))
    for rows in blocks_of_rows(len(x), ROUNDED_ROWS):
        out[rows] = np.linalg.norm(x[rows].astype(np.float64) - center[y[rows]], axis=1)
    return out

"""Three classifiers of cells by their embeddings: arrays in, log-probabilities out.

Cells may be float16, as an atlas stores them, and are read in blocks: a class of -1 leaves a cell out without a copy of
all others.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from scipy.special import log_softmax

from univerce.embeddings._logistic import center_and_spread, fit_blocks, fit_whole
from univerce.embeddings.index import NeighborIndex, build_index, import_faiss, tune
from univerce.embeddings.neighbors import exact_neighbors

Search = Literal["exact", "ivf", "hnsw", "compressed"]

TUNED_ON = 256
"""Cells of a query that set the effort of a search."""

_RECALL = 0.98
_PSEUDO_VOTES = 1.0
_LARGE = 2**22  # values beyond which float32 and few iterations are as good, or better on new cells
_LARGE_TOLERANCE = 1e-3


class Classifier(Protocol):
    """Interface of the classifiers. Their fields are arrays and numbers, and all that is saved of them."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def log_proba(self, x: np.ndarray) -> np.ndarray:
        """Predict log-probabilities ``[n, n_classes]`` of cells."""
        ...


@dataclass(frozen=True)
class Logistic:
    """Multinomial logistic regression of scikit-learn on centered cells of mean variance one.

    All columns are divided by one number, so rotations of the embedding change nothing. Standardizing each column
    carries over worse to other data sets.
    """

    mean: np.ndarray
    """``[n_dims]`` mean of the fitted cells."""
    weight: np.ndarray
    """``[n_classes, n_dims]`` for centered columns."""
    intercept: np.ndarray
    """``[n_classes]``, minus infinity for a class without cells."""

    @classmethod
    def fit(
        cls, x: np.ndarray, y: np.ndarray, n_classes: int, *, balanced: bool = False, start: Classifier | None = None,
        **_: Any,
    ) -> Logistic:  # fmt: skip
        """Fit; ``balanced`` gives all classes the same weight, and a fit to many cells begins with ``start``."""
        kept = np.flatnonzero(y >= 0)
        present, codes = np.unique(y[kept], return_inverse=True)
        if len(kept) * x.shape[1] > _LARGE:
            mean, scale = center_and_spread(x, kept)
            begin = start._coefficients(present, mean, scale) if isinstance(start, Logistic) else None
            found = fit_blocks(x, codes, kept, mean, scale, start=begin, tol=_LARGE_TOLERANCE, balanced=balanced)
        else:
            mean = x[kept].mean(axis=0, dtype=np.float64)
            found, scale = fit_whole(x[kept], codes, mean, balanced=balanced)
        weight, intercept = np.zeros((n_classes, x.shape[1])), np.full(n_classes, -np.inf)
        weight[present], intercept[present] = found[:, :-1] / scale, found[:, -1]
        return cls(mean, weight, intercept)

    def _coefficients(self, classes: np.ndarray, mean: np.ndarray, scale: float) -> np.ndarray:
        """``[len(classes), n_dims + 1]`` of this model for other centers and scales; a new class is a rare one."""
        constant = self.intercept + self.weight @ (mean - self.mean)
        known = np.isfinite(constant)
        constant = np.where(known, constant, constant[known].min())
        return np.column_stack([self.weight * scale, constant])[classes]

    def log_proba(self, x: np.ndarray) -> np.ndarray:
        """``[n, n_classes]``."""
        return log_softmax((x - self.mean) @ self.weight.T + self.intercept, axis=1)


@dataclass(frozen=True)
class Centroids:
    """Softmax of the negative squared distances to the mean of each class; all classes have the same weight.

    Not scikit-learn's ``NearestCentroid``, whose scores divide by the variance within the classes.
    """

    center: np.ndarray
    """``[n_classes, n_dims]``, NaN for a class without cells."""

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray, n_classes: int, **_: Any) -> Centroids:
        """Fit."""
        return cls(class_means(x, y, n_classes))

    def log_proba(self, x: np.ndarray) -> np.ndarray:
        """``[n, n_classes]``."""
        middle = np.nanmean(self.center, axis=0)  # products lose no digits near zero
        center = self.center - middle
        # Without the square of the cell itself, which is the same for all classes.
        score = 2 * (x - middle) @ np.nan_to_num(center).T - np.sum(np.square(center), axis=1)
        return log_softmax(np.where(np.isnan(score), -np.inf, score), axis=1)


@dataclass(frozen=True)
class Neighbors:
    """Share of the votes of the nearest cells, with one pseudo-vote divided among all classes."""

    cells: np.ndarray
    """``[n_cells, n_dims]`` float32, or float16 if they are stored so."""
    label: np.ndarray
    """``[n_cells]`` class of each."""
    vote: np.ndarray
    """``[n_classes]`` weight of a vote; zero for a class without cells."""
    n_neighbors: int
    search: Search = "exact"
    """Compare with every cell, or search an index, which is built when needed and not saved."""
    effort: int = 0
    """Effort of a search in the index, see :meth:`tuned`; 0 searches all of it."""

    @classmethod
    def fit(
        cls, x: np.ndarray, y: np.ndarray, n_classes: int, *, n_neighbors: int = 15, search: Search = "exact", **_: Any
    ) -> Neighbors:
        """Fit."""
        if search != "exact":
            import_faiss()  # fails before the work
        kept = y >= 0
        cells, label = (x, y) if kept.all() else (x[kept], y[kept])
        cells = cells if cells.dtype == np.float16 else np.asarray(cells, np.float32)
        vote = (np.bincount(label, minlength=n_classes) > 0).astype(np.float64)
        return cls(cells, label.astype(np.int64), vote, min(n_neighbors, len(cells)), search)

    def log_proba(self, x: np.ndarray) -> np.ndarray:
        """``[n, n_classes]``."""
        if self.search == "exact":
            nearest, _ = exact_neighbors(x, self.cells, self.n_neighbors)
        else:
            effort = self.effort or self._index.max_effort
            nearest, _ = self._index.search(x, self.n_neighbors, effort=effort)
        n_classes = len(self.vote)
        flat = (self.label[nearest] + n_classes * np.arange(len(x))[:, None])[nearest >= 0]
        votes = np.bincount(flat, minlength=len(x) * n_classes).reshape(len(x), n_classes) * self.vote
        present = self.vote > 0
        votes[:, present] += _PSEUDO_VOTES / present.sum()
        with np.errstate(divide="ignore"):
            return np.log(votes / votes.sum(axis=1, keepdims=True))

    def tuned(self, query: np.ndarray) -> tuple[Neighbors, float]:
        """Set the least effort that finds 98 % of the neighbors of some cells ``[n, n_dims]`` of a query.

        Cells of another data set are harder to find than those in the index. Returns the recall, too.
        """
        exact, _ = exact_neighbors(query, self.cells, self.n_neighbors)
        effort, found = tune(self._index, query, exact, target=_RECALL)
        ready = replace(self, effort=effort)
        ready.__dict__["_index"] = self._index  # built once
        return ready, found

    def __getstate__(self) -> dict[str, Any]:
        """Send the index to workers, so that it is built once."""
        if self.search != "exact":
            _ = self._index
        return self.__dict__

    @cached_property
    def _index(self) -> NeighborIndex:
        kind: Any = self.search
        return build_index(self.cells, kind)


CLASSIFIERS: dict[str, type[Logistic] | type[Centroids] | type[Neighbors]] = {
    "logistic": Logistic,
    "knn": Neighbors,
    "centroid": Centroids,
}


def class_means(x: np.ndarray, y: np.ndarray, n_classes: int) -> np.ndarray:
    """``[n_classes, n_dims]`` means in float64, NaN for a class without cells."""
    out = np.full((n_classes, x.shape[1]), np.nan)
    for k in np.unique(y[y >= 0]):
        out[k] = x[y == k].mean(axis=0, dtype=np.float64)
    return out


def assign_folds(y: np.ndarray, groups: np.ndarray | None, n_folds: int, seed: int) -> np.ndarray:
    """Assign a fold ``[n]`` to each cell of class ``y`` ``[n]``; the order of the cells must be random.

    The cells of a batch or donor in ``groups`` ``[n]`` stay together: one per fold, or several if there are more than
    ``n_folds``. ``None`` spreads each class over all folds.
    """
    folds = np.empty(len(y), dtype=np.int64)
    if groups is None:
        order = np.argsort(y, kind="stable")
        folds[order] = np.arange(len(y)) % n_folds  # continues from class to class, so small ones spread
        return folds
    names, which = np.unique(groups, return_inverse=True)
    if len(names) <= n_folds:
        return which
    from sklearn.model_selection import StratifiedGroupKFold

    split = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer cells than folds
        for fold, (_, test) in enumerate(split.split(y, y, which)):
            folds[test] = fold
    return folds


def held_out_models(
    method: str, x: np.ndarray, y: np.ndarray, n_classes: int, folds: np.ndarray, *, max_rows: int | None = None,
    **options: Any,
) -> Iterator[tuple[np.ndarray, Classifier | None]]:  # fmt: skip
    """Yield the rows of each fold and the classifier fitted on the other folds, None where there are no rows.

    Cells whose class does not occur in the other folds are left out, and those after the first ``max_rows``.
    """
    for fold in np.unique(folds):
        train = folds != fold
        fitted = np.unique(y[train])
        rows = np.flatnonzero(~train & np.isin(y, fitted))[:max_rows]
        if len(fitted) > 1 and len(rows):
            yield rows, CLASSIFIERS[method].fit(x, np.where(train, y, -1), n_classes, **options)
        else:
            yield rows[:0], None


def among_best(log_proba: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """``[n]`` probability that the true type is among the ``k`` most probable, if ties, as of no votes, are broken at
    random.
    """
    true = log_proba[np.arange(len(y)), y][:, None]
    above, equal = (log_proba > true).sum(axis=1), (log_proba == true).sum(axis=1)
    return np.asarray(np.clip((k - above) / equal, 0, 1))

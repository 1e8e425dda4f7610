"""Positives and negatives, and the classifier that separates them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import anndata as ad
import numpy as np
import pandas as pd

from univerce._settings import logger
from univerce._validate import as_seed
from univerce.embeddings.cells import BLOCK_ROWS, Cells
from univerce.embeddings.labels import given_labels
from univerce.io.files import open_anndata
from univerce.tl.discovery._thresholds import shift_prior
from univerce.tl.labels.label_classifier import LabelClassifier
from univerce.tl.labels.reference import choose_cells

POSITIVE, NEGATIVE = "positive", "negative"
FIT_OPTIONS: dict[str, Any] = {"batch_key": None, "max_cells": 5000, "n_folds": 5, "rng": 0}
_LABEL, _BATCH = "label", "batch"
_MIN_CELLS = 5

Source: TypeAlias = ad.AnnData | str | os.PathLike[str]


class Labeled(NamedTuple):
    """Cells with an embedding, some of them positives or negatives."""

    cells: Cells
    is_positive: np.ndarray
    """``[n]`` int8: 1 positive, 0 negative, -1 neither."""


def read(source: Source) -> ad.AnnData:
    """The AnnData, or the one at a path."""
    return source if isinstance(source, ad.AnnData) else open_anndata(Path(source))


def label_cells(
    positives: ad.AnnData,
    negatives: ad.AnnData | None,
    groupby: str | None,
    groups: str | Sequence[str] | None,
    use_rep: str,
) -> list[Labeled]:
    """Label positives and negatives."""
    if (groupby is None) != (groups is None):
        raise ValueError("groupby= and groups= go together: a column of positives.obs and the labels of the positives.")
    cells = Cells.read(positives, use_rep, name="positives")
    if groupby is None or groups is None:
        if negatives is None:
            raise ValueError(
                "There are positives only. Pass groupby= and groups=, so that the other cells of positives are the "
                "negatives, or pass negatives=."
            )
        is_positive = np.ones(len(cells), dtype=np.int8)
    else:
        labels = cells.labels(groupby)
        wanted = given_labels(groups)
        if not wanted:
            raise ValueError("groups is empty. Name at least one label.")
        if unknown := [group for group in wanted if group not in labels.categories]:
            raise ValueError(
                f"positives.obs[{groupby!r}] has no {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(map(repr, labels.categories[:20]))}."
            )
        is_positive = np.where(labels.codes < 0, -1, labels.isin(wanted)).astype(np.int8)
        if n_missing := int((is_positive < 0).sum()):
            logger.info("Leaving out %d of %d cells of positives without a label.", n_missing, len(cells))
    if negatives is None:
        return [Labeled(cells, is_positive)]
    others = Cells.read(negatives, use_rep, name="negatives")
    return [Labeled(cells, is_positive), Labeled(others, np.zeros(len(others), dtype=np.int8))]


@dataclass(frozen=True, eq=False)
class Detector:
    """A classifier of positives, and its probabilities for held-out cells."""

    classifier: LabelClassifier
    fitted_prevalence: float
    """Share of positives among the cells that it was fitted on."""
    prevalence: float
    """Share of positives among all labeled cells."""
    n_positives: int
    n_negatives: int
    held_out: np.ndarray
    """``[n_held_out]`` probability at ``fitted_prevalence``, by classifiers fitted on the other folds."""
    is_positive: np.ndarray
    """``[n_held_out]`` bool."""
    fitted: Sequence[np.ndarray]
    """Rows of each source that it was fitted on."""

    def score(self, probability: np.ndarray, prevalence: float) -> np.ndarray:
        """``[n]`` probability of a positive at a prevalence, from ``[n, 2]`` of the classifier."""
        column = self.classifier.classes.index.get_loc(POSITIVE)
        return shift_prior(probability[:, column].astype(np.float64), self.fitted_prevalence, prevalence)

    def score_rest(self, sources: Sequence[Labeled], prevalence: float) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the labeled cells that the classifier was not fitted on, and whether they are positive."""
        scores, positive = [np.empty(0)], [np.empty(0, dtype=bool)]
        for source, fitted in zip(sources, self.fitted, strict=True):
            rest = source.cells.known & (source.is_positive >= 0)
            rest[fitted] = False
            for rows in np.split(np.flatnonzero(rest), np.arange(BLOCK_ROWS, rest.sum(), BLOCK_ROWS)):
                scores.append(self.score(self.classifier.predict_proba(source.cells.rows(rows)), prevalence))
                positive.append(source.is_positive[rows] == 1)
        return np.concatenate(scores), np.concatenate(positive)

    def all_held_out(self, sources: Sequence[Labeled], prevalence: float) -> tuple[np.ndarray, np.ndarray]:
        """Scores of all held-out cells, and whether they are positive.

        Cells that the classifier was not fitted on are held out, too, unless whole batches are.
        """
        scores, positive = shift_prior(self.held_out, self.fitted_prevalence, prevalence), self.is_positive
        if self.classifier.params["batch_key"]:
            return scores, positive
        rest, of_rest = self.score_rest(sources, prevalence)
        return np.concatenate([scores, rest]), np.concatenate([positive, of_rest])


def fit_detector(sources: Sequence[Labeled], options: Mapping[str, Any] | None = None) -> Detector:
    """Fit and calibrate a logistic classifier; ``options`` override :data:`FIT_OPTIONS`."""
    if unknown := sorted(set(options or {}) - set(FIT_OPTIONS)):
        raise ValueError(f"fit_options has no {unknown[0]!r}; its keys are {', '.join(map(repr, FIT_OPTIONS))}.")
    chosen = FIT_OPTIONS | dict(options or {})
    batch_key, max_cells, seed = chosen["batch_key"], chosen["max_cells"], as_seed(chosen["rng"])
    parts, fitted, totals = [], [], np.zeros(2, dtype=np.int64)
    use_rep = sources[0].cells.use_rep
    for source in sources:
        cells = source.cells
        codes = np.where(cells.known, source.is_positive, -1).astype(np.int64)
        if n_missing := int(((codes < 0) & (source.is_positive >= 0)).sum()):
            logger.warning("Leaving out %s cells of %s without an embedding.", f"{n_missing:,}", cells.name)
        totals += np.bincount(codes[codes >= 0], minlength=2)
        rows = choose_cells(codes, cells.names, max_cells=max_cells, seed=seed)
        fitted.append(rows)
        names = [f"{cells.name}:{name}" for name in cells.names[rows]]
        obs = pd.DataFrame({_LABEL: np.where(codes[rows] == 1, POSITIVE, NEGATIVE)}, index=names)
        if batch_key is not None:
            obs[_BATCH] = np.asarray(cells.labels(batch_key).astype(object))[rows]
        parts.append(ad.AnnData(obs=obs, obsm={use_rep: cells.rows(rows)}))
    for n, kind in zip(totals, ("negatives", "positives"), strict=True):
        if n < _MIN_CELLS:
            needed = f"a classifier needs {_MIN_CELLS}. Check groups= and negatives=."
            raise ValueError(f"{n} {kind} have an embedding; {needed}")
    joint = ad.concat(parts)
    if (space := sources[0].cells.space) is not None:
        space.write(joint, use_rep)
    classifier = LabelClassifier.fit(
        joint, groupby=_LABEL, use_rep=use_rep, batch_key=None if batch_key is None else _BATCH, max_cells=max_cells,
        min_cells=2, n_folds=chosen["n_folds"], rng=seed,
    )  # fmt: skip
    column = classifier.classes.index.get_loc(POSITIVE)
    is_positive = np.asarray(classifier.held_out["label"]) == column
    if is_positive.all() or not is_positive.any():
        kind = "positives" if is_positive.all() else "negatives"
        raise ValueError(
            f"All held-out cells are {kind}: the others occur in one value of obs[{batch_key!r}] only. Leave batch_key "
            "out of fit_options."
        )
    n_used = classifier.classes["n_used"]
    return Detector(
        classifier, float(n_used[POSITIVE] / n_used.sum()), prevalence=float(totals[1] / totals.sum()),
        n_positives=int(totals[1]), n_negatives=int(totals[0]),
        held_out=np.asarray(classifier.held_out["probability"], np.float64)[:, column], is_positive=is_positive,
        fitted=fitted,
    )  # fmt: skip

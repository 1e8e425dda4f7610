"""The labeled cells that a search starts from, and the classifier that tells them from the rest."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import anndata as ad
import numpy as np
import pandas as pd

from univerce.embeddings.cells import gather, get_embedding, known_cells
from univerce.embeddings.labels import get_labels
from univerce.io.files import open_anndata
from univerce.tl.labels.label_classifier import LabelClassifier
from univerce.tl.labels.reference import choose_cells

logger = logging.getLogger(__name__)
SOUGHT, REST = "sought", "rest"
_LABEL, _BATCH = "sought", "batch"
_FEWEST = 5

Source: TypeAlias = ad.AnnData | str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Labeled:
    """Cells of one source."""

    adata: ad.AnnData
    is_sought: np.ndarray
    """``[n_obs]`` int8: 1 sought, 0 rest, -1 neither."""
    name: str


def read(source: Source) -> ad.AnnData:
    """The AnnData, or the one at a path."""
    return source if isinstance(source, ad.AnnData) else open_anndata(Path(source))


def label_cells(
    positives: ad.AnnData, negatives: ad.AnnData | None, groupby: str | None, groups: str | Sequence[str] | None
) -> list[Labeled]:
    """Which cells are sought, and which are the rest.

    Raises
    ------
    KeyError
        When there is no such column.
    ValueError
        When a group does not occur, or cells of one kind are not named at all.
    """
    if (groupby is None) != (groups is None):
        raise ValueError("groupby= and groups= go together: a column of positives.obs and the labels that are sought.")
    if groupby is None or groups is None:
        if negatives is None:
            raise ValueError(
                "There are positives only. Name the column and the labels that are sought with groupby= and groups=, "
                "so that the other cells of positives are the rest, or pass negatives=."
            )
        codes = np.ones(positives.n_obs, dtype=np.int8)
    else:
        labels = get_labels(positives.obs, groupby, name="positives")
        wanted = [groups] if isinstance(groups, str) else [str(group) for group in groups]
        if unknown := [group for group in wanted if group not in labels.categories]:
            raise ValueError(
                f"positives.obs[{groupby!r}] has no {', '.join(map(repr, unknown)) or 'groups'}; it has "
                f"{', '.join(map(repr, labels.categories[:20]))}."
            )
        if not wanted:
            raise ValueError("groups is empty; name at least one label.")
        codes = np.where(labels.isin(wanted), 1, 0).astype(np.int8)
        codes[labels.codes < 0] = -1
        if (codes == -1).any():
            logger.info("%s of %s cells of positives have no label and are neither sought nor the rest.",
                        f"{(codes == -1).sum():,}", f"{len(codes):,}")  # fmt: skip
    found = [Labeled(positives, codes, "positives")]
    if negatives is not None:
        found.append(Labeled(negatives, np.zeros(negatives.n_obs, dtype=np.int8), "negatives"))
    return found


@dataclass(frozen=True, eq=False)
class Finder:
    """A classifier of sought cells, with its held-out scores for the share they make up where it is used."""

    classifier: LabelClassifier
    taught: float
    """Share of the sought cells among those that it was fitted on."""
    prevalence: float
    """Share of all labeled cells."""
    n_sought: int
    n_rest: int
    held_out: np.ndarray
    """``[n_held_out]`` probability of being sought, for the share ``taught``."""
    positive: np.ndarray
    """``[n_held_out]`` whether it is."""


def fit_finder(
    sources: Sequence[Labeled],
    *,
    use_rep: str,
    batch: str | None,
    max_cells: int | None,
    n_folds: int,
    seed: int,
) -> Finder:
    """Fit and calibrate a logistic classifier on the cells that have an embedding.

    Raises
    ------
    ValueError
        When there are fewer than five cells of either kind, or none of a kind can be held out.
    KeyError
        When an embedding or the column of batches does not exist.
    """
    parts, totals = [], np.zeros(2, dtype=np.int64)
    for source in sources:
        rep = get_embedding(source.adata, use_rep, name=source.name)
        codes = np.where(known_cells(rep), source.is_sought, -1).astype(np.int64)
        if n_missing := int(((codes < 0) & (source.is_sought >= 0)).sum()):
            logger.warning("%s cells of %s have no embedding: left out.", f"{n_missing:,}", source.name)
        totals += np.bincount(codes[codes >= 0], minlength=2)
        rows = choose_cells(codes, source.adata.obs_names, max_cells=max_cells, seed=seed)
        obs = pd.DataFrame(
            {_LABEL: np.where(codes[rows] == 1, SOUGHT, REST)},
            index=[f"{source.name}:{name}" for name in source.adata.obs_names[rows]],
        )
        if batch is not None:
            obs[_BATCH] = np.asarray(get_labels(source.adata.obs, batch, name=source.name).astype(object))[rows]
        parts.append(ad.AnnData(obs=obs, obsm={use_rep: gather(rep, rows)}))
    for n, kind in zip(totals, ("the rest", "what is sought"), strict=True):
        if n < _FEWEST:
            raise ValueError(
                f"{n} cells with an embedding are {kind}; at least {_FEWEST} are needed to learn what tells them from "
                "the others. Check groups= and negatives=."
            )
    joint = ad.concat(parts)
    if use_rep in (entry := sources[0].adata.uns):
        joint.uns[use_rep] = entry[use_rep]
    classifier = LabelClassifier.fit(
        joint, groupby=_LABEL, use_rep=use_rep, batch_key=None if batch is None else _BATCH, max_cells=max_cells,
        min_cells=2, n_folds=n_folds, rng=seed,
    )  # fmt: skip
    column = classifier.classes.index.get_loc(SOUGHT)
    positive = np.asarray(classifier.held_out["label"]) == column
    if positive.all() or not positive.any():
        raise ValueError(
            f"All held-out cells are {'sought' if positive.all() else 'of the rest'}: cells of the other kind occur in "
            f"one value of obs[{batch!r}] only. Leave batch= out."
        )
    n_used = classifier.classes["n_used"]
    return Finder(
        classifier, taught=float(n_used[SOUGHT] / n_used.sum()), prevalence=float(totals[1] / totals.sum()),
        n_sought=int(totals[1]), n_rest=int(totals[0]),
        held_out=np.asarray(classifier.held_out["probability"], np.float64)[:, column], positive=positive,
    )  # fmt: skip

"""Predicted labels of cells, and how they are written to an AnnData."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Self

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._keys import UNKNOWN
from univerce._settings import settings
from univerce.embeddings.cells import Cells
from univerce.io.workers import map_rows
from univerce.tl.labels._ancestors import Ancestors, candidates, first_confident
from univerce.tl.labels.calibration import Calibrated

logger = logging.getLogger(__name__)
_UNKNOWN_COLOR = "#d3d3d3"


@dataclass(frozen=True)
class Predictions:
    """Labels of ``n`` cells."""

    best: np.ndarray
    """``[n]`` class, -1 for a cell without an embedding."""
    second: np.ndarray
    term: np.ndarray
    """``[n]`` ancestor that replaces the class, -1 for none."""
    rejected: np.ndarray
    confidence: np.ndarray

    @classmethod
    def missing(cls, n: int) -> Self:
        """Predictions of cells without an embedding."""
        best, second, term = np.full((3, n), -1)
        return cls(best, second, term, np.zeros(n, dtype=bool), np.full(n, np.nan, dtype=np.float32))

    def put(self, rows: slice | np.ndarray, other: Predictions) -> None:
        """Write the predictions of some cells."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)


def predict(cells: Cells, model: Calibrated, ancestors: Ancestors, threshold: float, client: Any) -> Predictions:
    """Predict labels in blocks of rows, here or on the workers of ``client``."""
    found = Predictions.missing(len(cells))
    work = partial(_predict_block, model, ancestors, threshold)
    with tqdm(total=len(cells), unit="cell", desc="transfer", disable=not settings.progress) as bar:
        for rows, block in map_rows(work, cells.values, client=client, name="transfer_labels"):
            found.put(rows, block)
            bar.update(len(block.best))
    if n_missing := int((found.best < 0).sum()):
        logger.info("%s of %s cells have no embedding and get no label.", f"{n_missing:,}", f"{len(cells):,}")
    return found


def _predict_block(model: Calibrated, ancestors: Ancestors, threshold: float, block: np.ndarray) -> Predictions:
    known, proba = model.known_proba(block)
    best, second = np.argsort(-proba, axis=1, kind="stable").T[:2]
    values, terms = candidates(proba, best, ancestors)
    first = first_confident(values, threshold)
    chosen = np.arange(len(best)), np.maximum(first, 0)
    found = Predictions.missing(len(block))
    found.put(known, Predictions(best, second, terms[chosen], first < 0, values[chosen]))
    return found


def write(adata: ad.AnnData, key: str, found: Predictions, classes: pd.DataFrame, ancestors: Ancestors) -> None:
    """Write the columns of ``obs`` and the colors; ``classes`` holds the color of each class."""
    names = list(classes.index)
    labels = list(dict.fromkeys([*names, *sorted(ancestors.names), UNKNOWN]))
    position = {name: i for i, name in enumerate(labels)}
    of_term = np.array([position[name] for name in ancestors.names] + [-1])  # the last is that of no term
    codes = np.where(found.term >= 0, of_term[found.term], found.best)
    codes[found.rejected] = position[UNKNOWN]
    adata.obs[key] = written = _categorical(codes, labels)
    adata.obs[f"{key}_confidence"] = found.confidence
    adata.obs[f"{key}_best"] = _categorical(found.best, names)
    adata.obs[f"{key}_second"] = _categorical(found.second, names)
    if any(ancestors.class_ids):
        id_of = np.array([*ancestors.class_ids, *ancestors.terms, ""], dtype=object)
        which = np.where(found.term >= 0, len(names) + found.term, found.best)
        ids = pd.Series(id_of[np.where(found.rejected, -1, which)], dtype=object)
        adata.obs[f"{key}_ontology_id"] = pd.Categorical(ids.where(ids != ""))
    adata.uns.pop(f"{key}_colors", None)
    if all(classes["color"]):
        colors = _colors(classes["color"], ancestors)
        adata.uns[f"{key}_colors"] = [colors[name] for name in written.categories]


def _categorical(codes: np.ndarray, names: list[str]) -> Any:
    return pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(names)).remove_unused_categories()


def _colors(of_class: pd.Series, ancestors: Ancestors) -> dict[str, str]:
    """Color of each label; an ancestor has the mean color of its classes."""
    from matplotlib.colors import to_hex, to_rgb

    colors = dict(of_class) | {UNKNOWN: _UNKNOWN_COLOR}
    rgb = np.array([to_rgb(color) for color in of_class])
    for name, members in zip(ancestors.names, ancestors.members.T, strict=True):
        colors.setdefault(name, to_hex(rgb[members].mean(axis=0)))
    return colors

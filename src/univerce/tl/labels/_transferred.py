"""What a transfer finds out about cells, and how it is written into their AnnData."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._settings import settings
from univerce.embeddings.cells import get_embedding
from univerce.io.rows import map_rows
from univerce.tl.labels._backoff import Ladders, climb, first_sure
from univerce.tl.labels.label_classifier import LabelClassifier, block_proba

logger = logging.getLogger(__name__)
_UNKNOWN_COLOR = "#d3d3d3"
_NO_CELL = -2


@dataclass(frozen=True)
class Found:
    best: np.ndarray
    """``[n]`` class, -2 for a cell without an embedding."""
    second: np.ndarray
    term: np.ndarray
    """``[n]`` term that a cell got instead of its class, -1 for none."""
    rejected: np.ndarray
    confidence: np.ndarray
    probability: np.ndarray
    """``[n, n_classes]``, or without columns."""

    @classmethod
    def nothing(cls, n: int, n_columns: int) -> Found:
        """What is found out about cells without an embedding."""
        return cls(
            best=np.full(n, _NO_CELL), second=np.full(n, _NO_CELL), term=np.full(n, -1),
            rejected=np.zeros(n, dtype=bool), confidence=np.full(n, np.nan, dtype=np.float32),
            probability=np.full((n, n_columns), np.nan, dtype=np.float32),
        )  # fmt: skip

    def put(self, rows: slice | np.ndarray, other: Found) -> None:
        """Write what was found out about some of the cells."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)


def predict(
    adata: ad.AnnData, classifier: LabelClassifier, ladders: Ladders | None, threshold: float, *, use_rep: str,
    keep: bool, client: Any,
) -> Found:  # fmt: skip
    rep, n, n_columns = get_embedding(adata, use_rep), adata.n_obs, len(classifier.classes) if keep else 0
    found = Found.nothing(n, n_columns)
    show = settings.progress
    with tqdm(total=n, unit="cell", desc="transfer", disable=not show) as bar:
        work = partial(_label, block_proba(classifier, rep), ladders, threshold, n_columns)
        for rows, part in map_rows(work, rep, client=client, name="transfer_labels"):
            found.put(rows, part)
            bar.update(len(part.best))
    if n_missing := int((found.best == _NO_CELL).sum()):
        logger.info("%s of %s cells have no embedding and get no label.", f"{n_missing:,}", f"{n:,}")
    return found


def _label(
    block_proba: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], ladders: Ladders | None, threshold: float,
    n_columns: int, block: np.ndarray,
) -> Found:  # fmt: skip
    known, proba = block_proba(block)
    order = np.argsort(-proba, axis=1, kind="stable")
    best = order[:, 0]
    values, terms = proba[np.arange(len(best)), best][:, None], np.full((len(best), 1), -1)
    if ladders is not None:
        values, terms = climb(proba, best, ladders)
    step = np.zeros(len(best), dtype=np.int64) if np.isnan(threshold) else first_sure(values, threshold)
    rejected = step < 0
    chosen = np.arange(len(best)), np.maximum(step, 0)
    found = Found.nothing(len(block), n_columns)
    found.put(known, Found(best, order[:, 1], terms[chosen], rejected, values[chosen], proba[:, :n_columns]))
    return found


def write(
    adata: ad.AnnData, key: str, found: Found, classifier: LabelClassifier, ladders: Ladders | None, ids: list[str],
    unknown: str,
) -> None:  # fmt: skip
    classes = classifier.classes
    names = list(classes.index)
    terms = [] if ladders is None else ladders.names
    everything = list(dict.fromkeys([*names, *sorted(terms), unknown]))
    position = {name: i for i, name in enumerate(everything)}
    codes = np.where(found.best >= 0, found.best, -1)
    if ladders is not None and terms:
        of_term = np.array([position[name] for name in terms])
        codes = np.where(found.term >= 0, of_term[np.maximum(found.term, 0)], codes)
    codes[found.rejected] = position[unknown]
    written = pd.Categorical.from_codes(codes.tolist(), categories=pd.Index(everything)).remove_unused_categories()
    adata.obs[key] = written
    adata.obs[f"{key}_confidence"] = found.confidence
    for what, values in (("best", found.best), ("second", found.second)):
        column = pd.Categorical.from_codes(np.maximum(values, -1).tolist(), categories=pd.Index(names))
        adata.obs[f"{key}_{what}"] = column.remove_unused_categories()
    if ladders is not None:
        id_of = np.array([*ids, *ladders.terms, ""], dtype=object)
        where = np.where(found.term >= 0, len(ids) + found.term, found.best)
        where[found.rejected | (found.best < 0)] = -1
        found_ids = pd.Series(id_of[where], dtype=object)
        adata.obs[f"{key}_ontology_id"] = pd.Categorical(found_ids.where(found_ids != ""))
    if found.probability.shape[1]:
        adata.obsm[f"{key}_probability"] = found.probability
    _write_colors(adata, key, list(written.categories), classes, ladders, unknown)


def _write_colors(
    adata: ad.AnnData, key: str, written: list[str], classes: pd.DataFrame, ladders: Ladders | None, unknown: str
) -> None:
    """Colors of the reference; a term has the mean color of the labels that it stands for."""
    adata.uns.pop(f"{key}_colors", None)
    own = {name: color for name, color in classes["color"].items() if color}
    if len(own) < len(classes):
        return
    from matplotlib.colors import to_hex, to_rgb

    colors = own | {unknown: _UNKNOWN_COLOR}
    if ladders is not None:
        rgb = np.array([to_rgb(color) for color in own.values()])
        for name, members in zip(ladders.names, ladders.members.T, strict=True):
            colors.setdefault(name, to_hex(rgb[members].mean(axis=0)))
    adata.uns[f"{key}_colors"] = [colors[name] for name in written]

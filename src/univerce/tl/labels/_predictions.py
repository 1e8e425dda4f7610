"""Predicted labels of cells, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from univerce._settings import logger, progress_bar
from univerce.embeddings.cells import Cells, fingerprints
from univerce.io.workers import map_rows
from univerce.tl.labels._prepare import Prepared
from univerce.tl.labels._rules import Decision
from univerce.tl.labels.novelty import Novelty

Rule = Callable[[np.ndarray, np.ndarray], Decision]


@dataclass(frozen=True)
class Predictions:
    """Labels of ``n`` cells."""

    best: np.ndarray
    """``[n]`` most probable class, -1 for a cell without an embedding."""
    second: np.ndarray
    label: np.ndarray
    """``[n]`` class that it is called, -1 for none."""
    term: np.ndarray
    """``[n]`` ancestor that it is called instead, -1 for none."""
    confidence: np.ndarray
    novelty: np.ndarray
    seen: np.ndarray
    """``[n]`` whether the classifier was fitted on the cell."""
    sets: np.ndarray
    """``[n, n_bytes]`` bits of the classes in its set."""

    @classmethod
    def missing(cls, n: int, n_bytes: int) -> Self:
        """Predictions of cells without an embedding."""
        best, second, label, term = np.full((4, n), -1)
        confidence, novelty = np.full((2, n), np.nan, dtype=np.float32)
        return cls(
            best, second, label, term, confidence, novelty, np.zeros(n, bool), np.zeros((n, n_bytes), dtype=np.uint8)
        )

    def put(self, rows: slice | np.ndarray, other: Predictions) -> None:
        """Write the predictions of some cells."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)


@dataclass(frozen=True, eq=False)
class Work:
    """All that a worker needs to label a block."""

    model: Prepared
    rule: Rule
    novelty: Novelty
    seen: np.ndarray
    n_bytes: int

    def __call__(self, block: np.ndarray) -> Predictions:
        """Label a block ``[n, n_dims]``."""
        known, proba = self.model.known_proba(block)
        best, second = np.argsort(-proba, axis=1, kind="stable").T[:2]
        said = self.rule(proba, best)
        cells = block[known]
        seen = np.isin(fingerprints(cells), self.seen)
        found = Predictions.missing(len(block), self.n_bytes)
        novelty = self.novelty.score(cells, best)
        found.put(known, Predictions(best, second, said.label, said.term, said.confidence, novelty, seen, said.sets))
        return found


def predict(cells: Cells, work: Work, client: Any) -> Predictions:
    """Predict labels in blocks of rows, here or on the workers of ``client``."""
    found = Predictions.missing(len(cells), work.n_bytes)
    with progress_bar(total=len(cells), unit="cell", desc="transfer") as bar:
        for rows, block in map_rows(work, cells.values, client=client, name="transfer_labels"):
            found.put(rows, block)
            bar.update(len(block.best))
    if n_missing := int((found.best < 0).sum()):
        logger.info("%s of %s cells have no embedding and get no label.", f"{n_missing:,}", f"{len(cells):,}")
    if n_seen := int(found.seen.sum()):
        logger.warning(
            "%s of %s cells are in the reference, which the classifier was fitted on: their labels are not "
            "predictions. Leave them out of one of the two.", f"{n_seen:,}", f"{len(cells):,}",
        )  # fmt: skip
    return found

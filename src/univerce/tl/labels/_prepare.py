"""A classifier made ready for a query: its index tuned, and the shares of the labels known or estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from univerce._settings import logger
from univerce.embeddings.cells import Cells
from univerce.embeddings.classifiers import TUNED_ON, Classifier, Neighbors
from univerce.inference.sentences import shuffled_rows
from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows
from univerce.tl.labels.calibration import Calibration
from univerce.tl.labels.prior import Prior, estimate_shares, fitted_shares, log_ratio, target_shares

if TYPE_CHECKING:
    from univerce.tl.labels.label_classifier import LabelClassifier

_ESTIMATED_ON = 20_000


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model, its calibration, and the shares of the labels to assume."""

    model: Classifier
    calibration: Calibration
    shift: np.ndarray
    """``[n_classes]`` log of the assumed shares over those of the fitted cells."""
    shares: np.ndarray
    """``[n_classes]`` assumed shares."""
    search: dict[str, float] = field(default_factory=dict)
    """``search_effort`` and ``search_recall`` of an index."""

    def known_proba(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``[n]`` rows with an embedding, and their probabilities ``[n_known, n_classes]`` in float64."""
        known = np.isfinite(block).all(axis=1)
        parts = [self.model.log_proba(block[rows][known[rows]]) for rows in blocks_of_rows(len(block), ROUNDED_ROWS)]
        return known, self.calibration(np.concatenate(parts), self.shift)


def prepare(
    classifier: LabelClassifier, values: Any, names: np.ndarray | None = None, *, prior: Prior,
    allowed: Sequence[str] | None = None,
) -> Prepared:  # fmt: skip
    """Make ready for a query ``[n, n_dims]``; ``names`` decide which of its cells are looked at first."""
    model, calibration = classifier.model, classifier.calibration
    shares, fitted = target_shares(classifier.classes, prior, allowed), fitted_shares(classifier.classes)
    search: dict[str, float] = {}
    indexed = isinstance(model, Neighbors) and model.search != "exact"
    some = _some_cells(values, names, _ESTIMATED_ON if prior == "query" else TUNED_ON * indexed)
    if isinstance(model, Neighbors) and indexed and len(some):
        model, recall = model.tuned(some[:TUNED_ON])
        search = {"search_effort": model.effort, "search_recall": recall}
        logger.info("The index finds %.1f %% of the neighbors of cells of the query.", 100 * recall)
    if prior == "query" and len(some):
        at_fitted = Prepared(model, calibration, np.zeros(len(fitted)), fitted)
        shares = estimate_shares(at_fitted.known_proba(some)[1], fitted, shares)
    return Prepared(model, calibration, log_ratio(shares, fitted), shares, search)


def _some_cells(values: Any, names: np.ndarray | None, n: int) -> np.ndarray:
    """At most ``n`` cells with an embedding, by the hash of their names."""
    if n == 0:
        return np.empty((0, values.shape[1]), dtype=np.float32)
    every = np.arange(values.shape[0])
    order = np.random.default_rng(0).permutation(every) if names is None else shuffled_rows(names, every, 0)
    found = Cells(values).rows(order[:n])
    return found[np.isfinite(found).all(axis=1)]

"""Scores of labels that count what a wrong label shares with the true one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from univerce.tl.labels._ancestors import get_ancestors

if TYPE_CHECKING:
    import networkx as nx


def label_lines(
    labels: Sequence[str] | np.ndarray, ontology: nx.DiGraph, ontology_ids: Mapping[str, str] | None = None
) -> np.ndarray:
    """``[n_labels, n_terms]`` term of each label and its ancestors; labels are terms unless ``ontology_ids`` says."""
    classes = pd.DataFrame({"ontology_id": ""}, index=pd.Index(np.asarray(labels, dtype=object)))
    return get_ancestors(classes, ontology, ontology_ids).lines(ontology)


def hierarchical_scores(
    lines: np.ndarray, truth: np.ndarray, given: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Compute hierarchical precision, recall and F1 (Kiritchenko et al. 2006), over cells and as mean of labels.

    A label stands for its term and the ancestors of it, ``lines`` ``[n_classes, n_terms]``; cells of a class without
    terms are left out. Precision is the share of the terms given that are true, recall the share of the true terms that
    are given. "macro" is the mean over the true labels of their F1.
    """
    weights = np.ones(len(truth)) if weights is None else weights
    kept = lines[truth].any(axis=1)
    truth, given, weights = truth[kept], given[kept], weights[kept]
    n_classes, counts = len(lines), lines.astype(np.float64)
    shared, n_terms = counts @ counts.T, counts.sum(axis=1)
    each = {"both": shared[truth, given] * weights, "given": n_terms[given] * weights, "true": n_terms[truth] * weights}
    by_label = {name: np.bincount(truth, weights=v, minlength=n_classes) for name, v in each.items()}
    total = {name: v.sum() for name, v in by_label.items()}
    scored = by_label["true"] > 0
    f1 = 2 * by_label["both"][scored] / (by_label["given"] + by_label["true"])[scored]
    return {
        "hierarchical_precision": float(total["both"] / max(total["given"], 1e-300)),
        "hierarchical_recall": float(total["both"] / max(total["true"], 1e-300)),
        "hierarchical_f1": float(2 * total["both"] / max(total["given"] + total["true"], 1e-300)),
        "hierarchical_f1_macro": float(f1.mean()) if len(f1) else float("nan"),
    }

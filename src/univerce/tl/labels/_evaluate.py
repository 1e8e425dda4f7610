"""The rule for uncertain cells, set on held-out cells, and what they say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from univerce.tl.labels._ancestors import Ancestors, candidates, correct_candidates
from univerce.tl.labels._held_out import HeldOut
from univerce.tl.labels._rules import LabelSets, Threshold, cross_sets, read_sets, set_cutoffs
from univerce.tl.labels.hierarchy import hierarchical_scores
from univerce.tl.labels.rejection import at_threshold, choose_threshold, cross_threshold, risk_coverage, thin

if TYPE_CHECKING:
    import networkx as nx

    from univerce.tl.labels.label_classifier import LabelClassifier

_MIN_LABELED = 10


def evaluate(
    classifier: LabelClassifier, shares: np.ndarray, ancestors: Ancestors, graph: nx.DiGraph | None,
    asked: Mapping[str, float],
) -> tuple[Threshold | LabelSets, dict[str, Any], dict[str, Any]]:  # fmt: skip
    """Set the rule at the assumed ``shares`` ``[n_classes]`` of the labels.

    Returns the rule, the scores and tables for ``uns``, and the parameters.
    """
    held = HeldOut.read(classifier.held_out, classifier.classes, shares)
    if len(held.truth) == 0:
        raise ValueError("No cell with one of the labels in allowed= was held out. Allow more labels.")
    scores = held.scores() | {"n_never_held_out": classifier.scores["n_never_held_out"]}
    each = held.by_label(len(shares)).set_index(classifier.classes.index)
    classes = classifier.classes.assign(**each, share=shares)
    best = held.proba.argmax(axis=1)
    values, terms = candidates(held.proba, best, ancestors)
    correct = correct_candidates(held.truth, best, terms, ancestors)
    curve = risk_coverage(values, correct, held.weights)
    params: dict[str, Any] = {"threshold": np.nan}
    tables: dict[str, Any] = {
        "reliability": scores.pop("reliability"),
        "risk_coverage": thin(curve),
        "classes": classes,
    }
    rule: Threshold | LabelSets
    if "label_set" in asked:
        cutoffs, own = set_cutoffs(held.proba, held.truth, asked["label_set"])
        rule = LabelSets(ancestors, cutoffs)
        scores |= _score_sets(held, ancestors, asked["label_set"], classes, tables)
        classes["set_cutoff"], classes["set_from_all"] = cutoffs, ~own
    else:
        cutoff = asked.get("confidence", np.nan)
        cutoffs = np.full(len(values), cutoff)
        if wanted := {name: asked[name] for name in ("accuracy", "coverage") if name in asked}:
            least = min(1.0, _MIN_LABELED / len(held.truth))
            cutoff = choose_threshold(curve, **wanted, min_coverage=least)
            cutoffs = cross_threshold(values, correct, held.weights, held.folds, wanted, least)
        params["threshold"] = float(cutoff)
        rule = Threshold(ancestors, cutoff)
        scores |= at_threshold(values, correct, cutoffs, held.weights)
    if graph is not None and ancestors.terms:
        scores |= hierarchical_scores(ancestors.lines(graph), held.truth, best, held.weights)
    return rule, {"scores": scores, **tables}, params


def _score_sets(
    held: HeldOut, ancestors: Ancestors, coverage: float, classes: pd.DataFrame, tables: dict[str, Any]
) -> dict[str, float]:
    """Coverage and size of the sets of held-out cells, with cutoffs from other folds; adds columns and a table."""
    sets = cross_sets(held.proba, held.truth, held.folds, coverage)
    inside = sets[np.arange(len(sets)), held.truth]
    size = sets.sum(axis=1)
    label, term = read_sets(sets, ancestors)
    n = len(classes)
    covered, sizes = (np.bincount(held.truth, weights=v, minlength=n) for v in (inside, size))
    with np.errstate(invalid="ignore"):
        classes["set_coverage"], classes["set_size"] = (v / classes["n_held_out"].to_numpy() for v in (covered, sizes))
    if (held.batches != "").any():
        cells = pd.DataFrame({"coverage": inside, "size": size, "one_label": label >= 0}).groupby(held.batches)
        tables["set_coverage"] = cells.mean().assign(n_cells=cells.size()).rename_axis("batch")
    one, several = label >= 0, term >= 0
    average = {"set_coverage": inside, "set_size": size, "set_one_label": one, "set_term": several}
    return {name: float(np.average(v, weights=held.weights)) for name, v in average.items()} | {
        "set_one_label_accuracy": _mean(inside[one], held.weights[one]),
        "set_term_accuracy": _mean(ancestors.members[held.truth[several], term[several]], held.weights[several]),
        "set_coverage_worst_label": float(classes["set_coverage"].min()),
    }


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.average(values, weights=weights)) if weights.sum() > 0 else float("nan")

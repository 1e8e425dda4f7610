"""Label transfer between the labeled sets: accuracy, calibration error, what rejection buys, and coverage of sets.

Prints one table: a row for each transfer and representation, mean and standard deviation over the seeds. The seed is
that of the model's sentences and of the folds of the calibration. ``kinds=condition,technology`` chooses kinds of
transfers, ``method=`` the classifier.
"""

from __future__ import annotations

import time

import anndata as ad
import numpy as np
import pandas as pd

from benchmarks.labeled.methods import EXPRESSION, PCA, PROJECTED, Methods
from benchmarks.labeled.scores import enough_cells, label_scores
from benchmarks.labeled.sets import BATCHED, TRANSFERS, Side
from benchmarks.labeled.tasks import side_cells
from benchmarks.measurement import Run, print_table
from univerce.tl.labels.calibration import expected_error, reliability
from univerce.tl.labels.label_classifier import LabelClassifier
from univerce.tl.labels.transfer_labels import transfer_labels

SEEDS = (0, 1, 2)
COVERAGE = 0.8
SET = 0.9
MEASURES = [
    "accuracy", "macro F1", "calibration error", f"accuracy at {COVERAGE:.0%}", "held-out error",
    f"coverage of {SET:.0%} sets", "labels in a set", "beyond 95 % of the label",
]  # fmt: skip


def score(
    reference: ad.AnnData, query: ad.AnnData, truth: np.ndarray, batch: str | None, seed: int, method: str
) -> dict[str, float]:
    """Scores of the query's cells; ``held-out error`` is the calibration error that the reference itself promises.

    Sets promise their coverage for cells like the reference, so that what is missing is the shift between the two.
    """
    classifier = LabelClassifier.fit(
        reference, groupby="label", method=method, use_rep="X", batch_key=batch, min_cells=5, rng=seed
    )
    transfer_labels(query, classifier, use_rep="X", key_added="found", check_space=False)
    found, confidence = query.obs["found"].astype(str).to_numpy(), query.obs["found_confidence"].to_numpy()
    right = found == truth
    novelty = query.obs["found_novelty"].to_numpy()
    transfer_labels(query, classifier, use_rep="X", key_added="within", label_set=SET, check_space=False)
    sets = query.obs["within_set"].astype(str).str.split(" | ", regex=False)
    sure = np.argsort(-confidence, kind="stable")[: round(COVERAGE * len(truth))]
    values = [
        *label_scores(truth.astype(str), found).values(),
        expected_error(reliability(confidence, right)),
        right[sure].mean(),
        query.uns["found"]["scores"]["ece_after"],
        np.mean([label in labels for label, labels in zip(truth.astype(str), sets, strict=True)]),
        query.obs["within_set_size"].mean(),
        (novelty > 0.95).mean(),
    ]
    return dict(zip(MEASURES, values, strict=True))


def batch_column(methods: Methods, side: Side, rows: np.ndarray) -> pd.Series | None:
    """Batches of the reference, where they are not its types and there are two."""
    if side.name not in BATCHED:
        return None
    batch = methods.read(side.name).obs[BATCHED[side.name]].astype(str).iloc[rows]
    return batch if batch.nunique() > 1 else None


def transfer(methods: Methods, train: Side, test: Side, method: str) -> list[tuple]:
    (i, labels), (j, truth) = side_cells(methods, train), side_cells(methods, test)
    kept = enough_cells(labels)
    i, labels = i[kept], labels[kept]
    known = np.isin(truth, labels)
    j, truth = j[known], truth[known]
    batch = batch_column(methods, train, i)
    out = []
    for (name, seed), (a, b) in methods.across(train.name, i, test.name, j).items():
        if name not in (methods.name, PCA, PROJECTED, EXPRESSION):
            continue
        reference = ad.AnnData(obs=pd.DataFrame({"label": labels}, index=[f"r{k}" for k in i]), obsm={"X": a.logistic})
        if batch is not None:
            reference.obs["batch"] = batch.to_numpy()
        query = ad.AnnData(obs=pd.DataFrame(index=[f"q{k}" for k in j]), obsm={"X": b.logistic})
        for s in SEEDS if seed < 0 else (seed,):
            scores = score(reference, query, truth, None if batch is None else "batch", s, method)
            out += [(name, s, measure, value) for measure, value in scores.items()]
    return out


def main(run: Run) -> None:
    """Label every pair in both directions."""
    methods = Methods(run.data, run.scratch(), seeds=SEEDS)
    kinds, method = run.option("kinds"), run.option("method", "logistic")
    rows = []
    for pair in TRANSFERS:
        if kinds and pair.kind not in kinds.split(","):
            continue
        for train, test in pair.directions():
            begin = time.perf_counter()
            name = f"{pair.kind}: {train.label} > {test.label}"
            rows += [(pair.kind, name, *row) for row in transfer(methods, train, test, method)]
            print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
    scores = pd.DataFrame(rows, columns=["kind", "set", "method", "seed", "measure", "value"])
    show(scores, method)
    lost = losses(scores, methods.name)
    print(
        f"\n  {methods.name} is less accurate than the best of the others in {len(lost)} of {scores['set'].nunique()}:"
    )
    print("\n".join(f"    {line}" for line in lost))


def show(scores: pd.DataFrame, classifier: str) -> None:
    """Each transfer, the mean of each kind, and the mean of all, with the spread over the seeds."""
    parts = [scores, scores.assign(set="mean, " + scores["kind"]), scores.assign(set="mean of all")]
    lines = []
    for part in parts:
        by_seed = part.groupby(["set", "method", "measure", "seed"], sort=False)["value"].mean()
        found = by_seed.groupby(["set", "method", "measure"], sort=False).agg(["mean", "std"])
        for (name, method), table in found.groupby(["set", "method"], sort=False):
            cells = table.droplevel([0, 1]).loc[MEASURES]
            lines.append((name, method, *(f"{mean:.3f} ± {sd:.3f}" for mean, sd in cells.to_numpy())))
    print_table(f"Label transfer, {classifier}, mean ± sd of {len(SEEDS)} seeds", ("", "cells as", *MEASURES), lines)


def losses(scores: pd.DataFrame, ours: str) -> list[str]:
    table = scores[scores["measure"] == "accuracy"].pivot_table(
        index="set", columns="method", values="value", sort=False
    )
    others = table.drop(columns=ours)
    return [
        f"{name}: {table.loc[name, ours]:.3f}, {others.loc[name].idxmax()} {others.loc[name].max():.3f}"
        for name in table.index
        if others.loc[name].max() > table.loc[name, ours]
    ]

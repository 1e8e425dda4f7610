"""Quality of a model on labeled data it has not seen, and of simple baselines: the tables of ``docs/uce-mini.md``.

``model=`` names another model than the bundled one, or its directory. ``resamples=2`` fits the bundled model again to
two other samples of the training cells. ``out=`` is a directory for the scores, by task and set; what it holds is not
computed again. ``only=`` names some of the tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.fit import fit_bundled
from benchmarks.labeled import card, tasks
from benchmarks.labeled.methods import Methods
from benchmarks.labeled.sets import BATCHED, TRANSFERS
from benchmarks.measurement import Run, print_table

Part = Callable[[], pd.DataFrame]


def main(run: Run) -> None:
    """Print tables as they are done, and write those of the model card."""
    model, chosen = run.option("model"), (run.option("only") or ",".join(TABLES)).split(",")
    out = Path(run.option("out") or run.scratch())
    resamples = [out / f"model-{seed}" for seed in range(1, 1 + int(run.option("resamples", "0")))]
    for seed, directory in enumerate(resamples, start=1):
        if not (directory / "tables").exists():
            fit_bundled(run.data, directory, seed)
    methods = Methods(run.data, run.scratch(), model=model, resamples=resamples)
    done = {}
    for task, parts in parts_of(methods).items():
        if task in chosen:
            kept = out / methods.found.digest[:12] / f"{task}-{len(resamples)}"
            done[task] = pd.concat(list(computed(kept, parts)), ignore_index=True)
            for measure, title in TABLES[task].items():
                show(done[task], measure, title)
    if set(card.NEEDED) <= done.keys():
        card.write(run, methods.name, done)


def parts_of(methods: Methods) -> dict[str, dict[str, Part]]:
    """What is computed and kept by itself, by task."""

    def by_set(task: Callable[[Methods, str], pd.DataFrame], names: Iterable[str] = methods.names) -> dict[str, Part]:
        return {name: partial(task, methods, name) for name in names}

    parts = {
        "within_set": by_set(tasks.within_set),
        "other_set": {t.name: partial(tasks.transfer, methods, t) for t in TRANSFERS},
        "integration": by_set(tasks.integration, BATCHED),
        "cells_of_a_gene": by_set(tasks.cells_of_a_gene),
        "spread": {"all": partial(tasks.spread, methods)},
        "gene_features": {"all": partial(tasks.gene_features, methods)},
    }
    if methods.found.reads_sentences:
        parts |= {"hidden_genes": by_set(tasks.hidden_genes), "seeds": {"all": partial(tasks.repeatability, methods)}}
    return parts


def computed(directory: Path, parts: dict[str, Part]) -> Iterator[pd.DataFrame]:
    """The parts of a task, from the directory if they are there."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        file = directory / f"{name}.csv"
        if not file.exists():
            begin = time.process_time()
            part().to_csv(file.with_suffix(".part"), index=False)
            file.with_suffix(".part").rename(file)
            print(f"{directory.name}, {name}: {time.process_time() - begin:.0f} CPU seconds", flush=True)
        yield pd.read_csv(file)


TABLES: dict[str, dict[str, str]] = {
    "within_set": {
        "kNN accuracy": "Accuracy within a set, 15 nearest neighbors, 5 folds",
        "kNN macro F1": "Macro-F1 within a set, 15 nearest neighbors, 5 folds",
        "logistic accuracy": "Accuracy within a set, logistic regression, 5 folds",
        "logistic macro F1": "Macro-F1 within a set, logistic regression, 5 folds",
    },
    "other_set": {
        "kNN accuracy": "Accuracy on another set, 15 nearest neighbors",
        "logistic accuracy": "Accuracy on another set, logistic regression",
        "logistic macro F1": "Macro-F1 on another set, logistic regression",
    },
    "integration": {
        "Bio conservation": "scIB: conservation of biology",
        "Batch correction": "scIB: correction of batches",
        "Total": "scIB: total",
    },
    "cells_of_a_gene": {"AUROC": "AUROC over the cells of one gene, by predicted expression"},
    "hidden_genes": {"AUROC": "AUROC per cell of hidden against silent genes"},
    "spread": {"cosine": "Mean cosine between two random cells"},
    "seeds": {
        "cosine": "Cosine of a cell with itself under another seed, mean of the cells",
        "lowest": "Cosine of a cell with itself under another seed, lowest of the cells",
    },
    "gene_features": {"report": "Gene features (uc.genes.feature_report)"},
}
"""Measure and title of the tables of each task."""


def show(scores: pd.DataFrame, measure: str, title: str) -> None:
    """Sets in the rows, methods in the columns, seeds averaged; the mean of the sets, and its spread over the seeds."""

    def text(values: Iterable[float]) -> list[str]:
        return ["" if np.isnan(x) else f"{x:,.0f}" if x > 10 else f"{x:.3f}" for x in values]

    scores = scores[scores["measure"] == measure]
    table = scores.pivot_table(index="set", columns="method", values="value", aggfunc="mean", observed=True, sort=False)
    order = {key: scores[key].drop_duplicates().tolist() for key in ("set", "method")}
    table = table.reindex(index=order["set"], columns=order["method"])
    rows = [(name, *text(row)) for name, row in zip(table.index, table.to_numpy(), strict=True)]
    kinds = table.index.str.extract(r"^(.*?): ", expand=False)
    if kinds.notna().all():
        rows += [(f"mean, {kind}", *text(table[kinds == kind].mean())) for kind in kinds.unique()]
    rows.append(("mean", *text(table.mean())))
    seeds = scores.groupby(["method", "seed"], sort=False)["value"].mean().groupby("method").agg(["std", "size"])
    if (seeds["size"] > 1).any():
        rows.append(("sd of the mean over seeds", *text(seeds["std"].reindex(table.columns))))
    print_table(title, ("", *table.columns), rows)

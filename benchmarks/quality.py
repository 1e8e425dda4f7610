"""Quality of a model on labeled data it has not seen, and of simple baselines; ``docs/uce-mini.md`` has the scores.

``model=`` names another model than the bundled one, or its directory; ``csv=`` a file for all scores. ``resamples=2``
fits the bundled model again to two other samples of the training cells. ``only=`` names some of the tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.fit import fit_bundled
from benchmarks.labeled import tasks
from benchmarks.labeled.methods import Methods
from benchmarks.labeled.sets import BATCHED
from benchmarks.measurement import Run, print_table


def main(run: Run) -> None:
    """Print tables as they are done, and write all scores to a file."""
    resamples = [run.scratch() / "model" for _ in range(int(run.option("resamples", "0")))]
    for seed, directory in enumerate(resamples, start=1):
        fit_bundled(run.data, directory, seed)
    methods = Methods(run.data, run.scratch(), model=run.option("model"), resamples=resamples)
    done: list[pd.DataFrame] = []

    def keep(scores: pd.DataFrame, **titles: str) -> None:
        done.append(scores)
        for measure, title in titles.items():
            show(scores[scores["measure"] == measure.replace("_", " ")], title)

    every = (within_set, other_set, integration, seeds_and_spread, cells_of_a_gene, hidden_genes, gene_features)
    chosen = (run.option("only") or ",".join(task.__name__ for task in every)).split(",")
    for task in every:
        if task.__name__ in chosen:
            task(methods, keep)
    if csv := run.option("csv"):
        path = Path(csv)
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.concat(done).to_csv(path, index=False)


def show(scores: pd.DataFrame, title: str, *, mean: bool = True, digits: int = 3) -> None:
    """Sets in the rows, methods in the columns, seeds averaged; the mean of the sets, and its spread over the seeds."""

    def text(values: Iterable[float]) -> list[str]:
        return ["" if np.isnan(x) else f"{x:.{digits}f}" for x in values]

    order = {key: scores[key].drop_duplicates().tolist() for key in ("set", "method")}
    table = scores.pivot_table(index="set", columns="method", values="value", aggfunc="mean", observed=True, sort=False)
    table = table.reindex(index=order["set"], columns=order["method"])
    rows = [(name, *text(row)) for name, row in zip(table.index, table.to_numpy(), strict=True)]
    if mean:
        kinds = table.index.str.extract(r"^(.*?): ", expand=False)
        if kinds.notna().all():
            rows += [(f"mean, {kind}", *text(table[kinds == kind].mean())) for kind in kinds.unique()]
        rows.append(("mean", *text(table.mean())))
        seeds = scores.groupby(["method", "seed"], sort=False)["value"].mean().groupby("method").agg(["std", "size"])
        if (seeds["size"] > 1).any():
            rows.append(("sd of the mean over seeds", *text(seeds["std"].reindex(table.columns))))
    print_table(title, ("", *table.columns), rows)


def announce(what: str, begin: float) -> None:
    print(f"{what}: {time.perf_counter() - begin:.0f} s", flush=True)


def within_set(methods: Methods, record: Callable[..., None]) -> None:
    parts = []
    for name in methods.names:
        begin = time.perf_counter()
        assert all(np.isfinite(x).all() for x in methods.whole(name).values())
        parts.append(tasks.within_set(methods, name))
        announce(name, begin)
    record(
        pd.concat(parts),
        kNN_accuracy="Accuracy within a set, 15 nearest neighbors, 5 folds",
        kNN_macro_F1="Macro-F1 within a set, 15 nearest neighbors, 5 folds",
        logistic_accuracy="Accuracy within a set, logistic regression, 5 folds",
        logistic_macro_F1="Macro-F1 within a set, logistic regression, 5 folds",
    )


def other_set(methods: Methods, record: Callable[..., None]) -> None:
    begin = time.perf_counter()
    scores = tasks.transfers(methods)
    announce("transfers", begin)
    record(
        scores,
        kNN_accuracy="Accuracy on another set, 15 nearest neighbors",
        logistic_accuracy="Accuracy on another set, logistic regression",
        logistic_macro_F1="Macro-F1 on another set, logistic regression",
    )


def integration(methods: Methods, record: Callable[..., None]) -> None:
    parts = []
    for name in BATCHED:
        begin = time.perf_counter()
        parts.append(tasks.integration(methods, name))
        announce(name, begin)
    record(
        pd.concat(parts),
        Bio_conservation="scIB: conservation of biology",
        Batch_correction="scIB: correction of batches",
        Total="scIB: total",
    )


def seeds_and_spread(methods: Methods, record: Callable[..., None]) -> None:
    begin = time.perf_counter()
    spread = tasks.spread(methods)
    record(spread)
    if methods.found.reads_sentences:
        seeds = tasks.repeatability(methods)
        record(seeds)
        for measure, what in (("cosine", "mean of the cells"), ("lowest", "lowest of the cells")):
            title = f"Cosine of a cell with itself under another seed, {what}"
            show(seeds[seeds["measure"] == measure], title, digits=5)
    show(spread, "Mean cosine between two random cells", mean=False)
    announce("seeds and spread", begin)


def cells_of_a_gene(methods: Methods, record: Callable[..., None]) -> None:
    begin = time.perf_counter()
    scores = pd.concat([tasks.cells_of_a_gene(methods, name) for name in methods.names])
    announce("cells of a gene", begin)
    record(scores, AUROC="AUROC over the cells of one gene, by predicted expression")


def hidden_genes(methods: Methods, record: Callable[..., None]) -> None:
    begin = time.perf_counter()
    scores = pd.concat([tasks.hidden_genes(methods, name) for name in methods.names])
    announce("hidden genes", begin)
    record(scores, AUROC="AUROC per cell of hidden against silent genes")


def gene_features(methods: Methods, record: Callable[..., None]) -> None:
    scores = tasks.gene_features(methods)
    record(scores)
    is_number = scores["method"].str.startswith("n_")
    for title, part, digits in (("scores", scores[~is_number], 3), ("numbers of genes", scores[is_number], 0)):
        show(part, f"Gene features (uc.genes.feature_report), {title}", mean=False, digits=digits)

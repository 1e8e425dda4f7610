"""The tables of the model card, from the scores of all tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from benchmarks.labeled.methods import BAG, CENTERED, EXPRESSION, PCA, PROJECTED, STRONG
from benchmarks.measurement import Run

NEEDED = ("within_set", "other_set", "integration", "cells_of_a_gene")
FILE = "quality"


def write(run: Run, model: str, scores: Mapping[str, pd.DataFrame]) -> None:
    """Print the tables, and write them to ``quality.md`` of the documentation, one below the other."""
    bundled = {task: s[s["seed"] < 1] for task, s in scores.items()}
    methods = [model, BAG, PCA, PROJECTED, EXPRESSION]
    run.record(FILE, "Accuracy of 15 nearest neighbors", ("", *methods), overview(bundled, "kNN accuracy", methods))
    columns = [model, CENTERED, BAG, PCA]
    rows = integration(bundled["integration"], columns)
    run.record(FILE, "scIB, three sets with batches", ("", *columns), rows, append=True)
    with_lines = [*methods, STRONG]
    run.record(
        FILE, "Accuracy of logistic regression", ("", *with_lines),
        overview(bundled, "logistic accuracy", with_lines), append=True,
    )  # fmt: skip
    for measure, title, columns in (
        ("kNN accuracy", "Accuracy of 15 nearest neighbors within each set", [model, BAG, PCA, EXPRESSION]),
        (
            "logistic accuracy",
            "Accuracy of logistic regression within each set",
            [model, BAG, PCA, EXPRESSION, STRONG],
        ),
    ):
        rows = by_set(bundled["within_set"], measure, columns)
        run.record(FILE, title, ("", *columns), rows, append=True)
    genes = scores["cells_of_a_gene"].pivot_table(index="set", columns="method", values="value", sort=False)
    genes.loc["**mean**"] = genes.mean()
    rows = [(name, *(f"{x:,.0f}" if x > 1 else f"{x:.3f}" for x in row)) for name, row in genes.iterrows()]
    run.record(
        FILE, "AUROC of predicted expression for each gene, over the cells", ("", *genes.columns), rows, append=True
    )
    if scores["within_set"]["seed"].max() > 0:
        run.record(FILE, *seeds(scores, model), append=True)


def overview(scores: Mapping[str, pd.DataFrame], measure: str, methods: list[str]) -> Iterable[tuple[str, ...]]:
    """Means within sets, between sets, and of each kind of pairs."""
    of_sets, of_pairs = (mean_of(scores[task], measure, methods) for task in ("within_set", "other_set"))
    yield "**within a set**", *text(of_sets.mean(), methods)
    yield "**to another set**", *text(of_pairs.mean(), methods)
    kinds = of_pairs.index.str.extract(r"^(.*?): ", expand=False)
    for kind in kinds.unique():
        yield kind, *text(of_pairs[kinds == kind].mean(), methods)


def integration(scores: pd.DataFrame, methods: list[str]) -> Iterable[tuple[str, ...]]:
    """Means of the sets with batches, and the total of each."""
    yield from by_set(scores, "Total", methods)
    for measure in ("Bio conservation", "Batch correction", "Total"):
        yield f"**{measure.lower()}**, mean", *text(mean_of(scores, measure, methods).mean(), methods)


def by_set(scores: pd.DataFrame, measure: str, methods: list[str]) -> Iterable[tuple[str, ...]]:
    """One row for each set."""
    table = mean_of(scores, measure, methods)
    return [(name, *text(row, methods)) for name, row in table.iterrows()]


def seeds(scores: Mapping[str, pd.DataFrame], model: str) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
    """The bundled model, which is seed 0, and fits to other samples of the training cells."""
    within, other = (s[s["measure"] == "kNN accuracy"] for s in (scores["within_set"], scores["other_set"]))
    total = scores["integration"].query("measure == 'Total'")
    kind = other["set"].str.extract(r"^(.*?): ", expand=False)
    pca = within.query("method == @PCA")["value"].mean()
    fits = {
        "within a set": within, "to another set": other, "to another species": other[kind == "species"],
        "fly, within": within[within["set"].str.startswith("fly")],
        "zebrafish, within": within[within["set"].str.startswith("zebrafish")], "scIB, total": total,
    }  # fmt: skip
    rows = []
    for name, some in fits.items():
        value = some[some["method"] == model].groupby("seed")["value"].mean()
        rows.append((name, *(f"{x:.3f}" for x in value)))
        if name == "within a set":
            rows.append(("behind PCA", *(f"{pca - x:.3f}" for x in value)))
    columns = within.loc[within["method"] == model, "seed"].drop_duplicates()
    header = ("", *(f"seed {k} (bundled)" if k == 0 else f"seed {k}" for k in columns))
    return "Fits to three samples of the training cells", header, rows


def mean_of(scores: pd.DataFrame, measure: str, methods: list[str]) -> pd.DataFrame:
    """Sets in the rows, methods in the columns."""
    some = scores[(scores["measure"] == measure) & scores["method"].isin(methods)]
    return some.pivot_table(index="set", columns="method", values="value", sort=False)


def text(row: pd.Series, methods: list[str]) -> list[str]:
    """Three digits, or nothing."""
    return [f"{row[m]:.3f}" if m in row.index and pd.notna(row[m]) else "" for m in methods]

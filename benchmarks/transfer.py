"""Label transfer between the labeled sets: exact and hierarchical F1, calibration, coverage of sets, rejection.

Writes a table of means, and one with a row for each transfer and representation, means over the seeds. The seed is that
of the model's sentences and of the folds of the calibration. ``kinds=condition,technology`` chooses kinds of transfers,
``method=`` the classifier, ``seeds=0,1`` the seeds. ``cache=DIR`` keeps the scores of each transfer, so that a run that
was interrupted goes on; empty it when the code has changed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from benchmarks.labeled.methods import EXPRESSION, PCA, PROJECTED, Cells, Methods
from benchmarks.labeled.scores import enough_cells, label_scores, shared_genes
from benchmarks.labeled.sets import BATCHED, TERMS, TRANSFERS, Side
from benchmarks.labeled.tasks import side_cells
from benchmarks.measurement import Run
from univerce.bench.methods.linear import linear_features
from univerce.datasets import read_ontology
from univerce.tl.labels.calibration import expected_error, reliability
from univerce.tl.labels.hierarchy import hierarchical_scores, label_lines
from univerce.tl.labels.label_classifier import LabelClassifier
from univerce.tl.labels.transfer_labels import transfer_labels

ACCURACY = SET = 0.9
LINEAR = "linear"
MEASURES = [
    "accuracy", "macro-F1", "hierarchical F1", "ECE", f"coverage of {SET:.0%} sets", "labels per set",
    f"rejected for {ACCURACY:.0%} accuracy", "accuracy of the rest",
]  # fmt: skip


def score(
    reference: ad.AnnData, query: ad.AnnData, truth: np.ndarray, batch: str | None, seed: int, method: str
) -> dict[str, float]:
    """Scores of the query's cells.

    Sets promise their coverage, and the threshold its accuracy, for cells like the reference, so that what is missing
    is the shift between the two. A threshold that no held-out cells reach rejects all cells.
    """
    classifier = LabelClassifier.fit(
        reference, groupby="label", method=method, use_rep="X", batch_key=batch, min_cells=5, rng=seed
    )
    options = {"use_rep": "X", "check_space": False}
    transfer_labels(query, classifier, key_added="found", **options)
    found, confidence = query.obs["found"].astype(str).to_numpy(), query.obs["found_confidence"].to_numpy()
    right = found == truth
    transfer_labels(query, classifier, key_added="within", label_set=SET, **options)
    sets = query.obs["within_set"].astype(str).str.split(" | ", regex=False)
    try:
        transfer_labels(query, classifier, key_added="sure", threshold={"accuracy": ACCURACY}, **options)
        kept = (query.obs["sure"] != "unknown").to_numpy()
    except ValueError:
        kept = np.zeros(len(truth), dtype=bool)
    values = [
        *label_scores(truth, found).values(),
        hierarchical_f1(truth, found),
        expected_error(reliability(confidence, right)),
        np.mean([label in labels for label, labels in zip(truth, sets, strict=True)]),
        query.obs["within_set_size"].mean(),
        1 - kept.mean(),
        right[kept].mean() if kept.any() else np.nan,
    ]
    return dict(zip(MEASURES, values, strict=True))


def hierarchical_f1(truth: np.ndarray, found: np.ndarray) -> float:
    """F1 of the terms of the Cell Ontology and their ancestors over cells; NaN for cell lines, which have no terms."""
    names, codes = np.unique(np.concatenate([truth, found]), return_inverse=True)
    if not set(names) <= set(TERMS):
        return np.nan
    lines = label_lines(names, read_ontology(), TERMS)
    return hierarchical_scores(lines, *np.split(codes, 2))["hierarchical_f1"]


def linear(methods: Methods, sides: tuple[Side, Side], rows: tuple[np.ndarray, ...], labels: np.ndarray) -> list[Cells]:
    """The strong linear baseline on the shared genes, fitted to the cells of the first side."""
    adatas = [methods.read(side.name) for side in sides]
    columns = shared_genes(*(a.var_names for a in adatas))
    counts = sp.vstack([a.X[r][:, c] for a, r, c in zip(adatas, rows, columns, strict=True)], format="csr")
    codes = np.concatenate([pd.factorize(labels)[0], np.full(len(rows[1]), -1)])
    return [Cells(x, x) for x in np.split(linear_features(counts, codes), [len(rows[0])])]


def batch_column(methods: Methods, side: Side, rows: np.ndarray) -> pd.Series | None:
    """Batches of the reference, where they are not its types and there are two."""
    if side.name not in BATCHED:
        return None
    batch = methods.read(side.name).obs[BATCHED[side.name]].astype(str).iloc[rows]
    return batch if batch.nunique() > 1 else None


def transfer(methods: Methods, train: Side, test: Side, method: str, seeds: Sequence[int]) -> list[tuple]:
    (i, labels), (j, truth) = side_cells(methods, train), side_cells(methods, test)
    kept = enough_cells(labels)
    i, labels = i[kept], labels[kept]
    known = np.isin(truth, labels)
    j, truth = j[known], truth[known]
    batch = batch_column(methods, train, i)
    truth, out = truth.astype(str), []
    spaces = methods.across(train.name, i, test.name, j)
    spaces = {key: spaces[key] for key in spaces if key[0] in (methods.name, PCA, PROJECTED, EXPRESSION)}
    spaces[LINEAR, -1] = tuple(linear(methods, (train, test), (i, j), labels))
    for (name, seed), (a, b) in spaces.items():
        reference = ad.AnnData(obs=pd.DataFrame({"label": labels}, index=[f"r{k}" for k in i]), obsm={"X": a.logistic})
        if batch is not None:
            reference.obs["batch"] = batch.to_numpy()
        query = ad.AnnData(obs=pd.DataFrame(index=[f"q{k}" for k in j]), obsm={"X": b.logistic})
        for s in seeds if seed < 0 or not methods.found.reads_sentences else (seed,):
            scores = score(reference, query, truth, None if batch is None else "batch", s, method)
            out += [(name, s, measure, value) for measure, value in scores.items()]
    return out


def kept(cache: str | None, key: list, compute: Callable[..., list[tuple]], *args: object) -> list[tuple]:
    """Read what was computed before, or compute and write it."""
    if cache is None:
        return compute(*args)
    path = Path(cache) / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(compute(*args)))
    return [tuple(row) for row in json.loads(path.read_text())]


def main(run: Run) -> None:
    """Label every pair in both directions."""
    seeds = [int(seed) for seed in run.option("seeds", "0,1,2").split(",")]
    methods = Methods(run.data, run.scratch(), seeds=seeds, bag=False)
    cache = run.option("cache")
    kinds, method = run.option("kinds"), run.option("method", "logistic")
    rows = []
    for pair in TRANSFERS:
        if kinds and pair.kind not in kinds.split(","):
            continue
        for train, test in pair.directions():
            begin = time.perf_counter()
            name = f"{pair.kind}: {train.label} > {test.label}"
            found = kept(
                cache, [name, method, seeds, methods.found.digest], transfer, methods, train, test, method, seeds
            )
            rows += [(pair.kind, name, *row) for row in found]
            print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
    scores = pd.DataFrame(rows, columns=["kind", "set", "method", "seed", "measure", "value"])
    show(run, scores, method)
    lost = losses(scores, methods.name)
    print(
        f"\n  {methods.name} is less accurate than the best of the others in {len(lost)} of {scores['set'].nunique()}:"
    )
    print("\n".join(f"    {line}" for line in lost))


def show(run: Run, scores: pd.DataFrame, classifier: str) -> None:
    """The means of all transfers and of each kind, and each transfer."""
    n, seeds = scores["set"].nunique(), scores["seed"].nunique()
    folds = f"{seeds} seed{'s' * (seeds > 1)} of the folds"
    title = f"Labels by method={classifier!r} in {n} transfers between two data sets, {folds}"
    parts = [scores.assign(set="all")] + [scores.assign(set=scores["kind"])] * (scores["kind"].nunique() > 1)
    tables = {
        f"transfer-{classifier}": (pd.concat(parts), title),
        f"transfer-{classifier}-directions": (scores, title),
    }
    for name, (part, caption) in tables.items():
        each = part.groupby(["set", "method", "measure"], sort=False)["value"].mean()
        cells = each.unstack().reindex(columns=MEASURES)
        lines = [
            (f"{where}, {how}", *map(_text, row))
            for (where, how), row in zip(cells.index, cells.to_numpy(), strict=True)
        ]
        run.record(name, caption, ("transfer, representation", *MEASURES), lines)


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


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

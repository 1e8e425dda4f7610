"""Scores of labels that pass from one data set to another: arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench._bootstrap import interval, resampled_means
from univerce.bench._centroids import centroid_hits
from univerce.bench._geometry import rotated, separate
from univerce.bench._labels import macro_f1
from univerce.bench._scores import COLUMNS, TOP, Result
from univerce.embeddings.classifiers import CLASSIFIERS
from univerce.embeddings.labels import get_labels

NAMES: Final = {"kNN": "knn", "logistic": "logistic", "nearest centroid": "centroid"}


@dataclass(frozen=True, eq=False)
class Pair:
    """The cells that teach and the cells that are scored."""

    query: np.ndarray
    """Rows of the scored cells."""
    reference: np.ndarray
    """Rows of the cells that teach."""
    y_query: np.ndarray
    y_reference: np.ndarray
    """Places of their types in ``types``."""
    types: np.ndarray
    table: pd.DataFrame
    counts: dict[str, int]


def pair_cells(
    query: ad.AnnData, reference: ad.AnnData, labels: str, embeddings: Sequence[np.ndarray], min_cells: int
) -> Pair:
    """Which cells teach, and which are scored.

    Raises
    ------
    ValueError
        When fewer than two types can be taught, or no cell of the query has one of them.
    """
    known = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in embeddings])
    known_query, known_reference = np.split(known, [query.n_obs])
    mine, theirs = (
        np.asarray(get_labels(a.obs, labels, name=n), dtype=object)
        for a, n in ((query, "query"), (reference, "reference"))
    )
    sizes = pd.Series(theirs[known_reference]).value_counts()
    types = np.array(sorted(sizes.index[sizes >= min_cells]), dtype=object)
    taught = np.flatnonzero(known_reference & np.isin(theirs, types))
    scored = np.flatnonzero(known_query & np.isin(mine, types))
    if len(types) < 2 or len(scored) == 0:
        some = ", ".join(map(repr, types[:5]))
        raise ValueError(
            f"The reference can teach {len(types)} types of obs[{labels!r}] ({some or 'none'}), and {len(scored)} "
            "cells of the query are of them. Bring the labels to one vocabulary, or lower min_cells=."
        )
    unlabeled = pd.isna(mine)
    counts = {
        "scored": len(scored), "no label": int(unlabeled.sum()),
        "no embedding": int((~unlabeled & ~known_query).sum()),
        "type not taught": int((~unlabeled & known_query & ~np.isin(mine, types)).sum()), "taught": len(taught),
        "reference, not taught": reference.n_obs - len(taught),
    }  # fmt: skip
    table = pd.DataFrame({"query": pd.Series(mine).value_counts(), "reference": pd.Series(theirs).value_counts()})
    table = table.fillna(0).astype(int).sort_index().rename_axis("type").reset_index()
    table["taught"] = table["type"].isin(types)
    codes = pd.Index(types)
    return Pair(
        scored, taught, codes.get_indexer(mine[scored]), codes.get_indexer(theirs[taught]), types, table, counts
    )


def score_transfer(embedding: np.ndarray, pair: Pair, *, n_bootstrap: int, seed: int) -> Result:
    """Score one embedding ``[n_query + n_reference, n_dims]``, the query first."""
    n_query = len(embedding) - (pair.counts["taught"] + pair.counts["reference, not taught"])
    x = rotated(separate(np.concatenate([embedding[pair.query], embedding[n_query + pair.reference]])))
    x, x_reference = np.split(x, [len(pair.query)])
    rows: list[dict[str, Any]] = []
    cells, given = {}, {}
    for name, method in NAMES.items():
        fitted = CLASSIFIERS[method].fit(x_reference, pair.y_reference, len(pair.types))
        given[name] = fitted.log_proba(x).argmax(axis=1)
        cells[f"{name} accuracy"] = right = (given[name] == pair.y_query).astype(float)
        accuracy = _row(f"{name} accuracy", float(right.mean()), len(x))
        if n_bootstrap:
            low, high = interval(resampled_means(right[:, None], n_bootstrap, np.random.default_rng(seed)))
            accuracy |= {"low": float(low[0]), "high": float(high[0])}
        rows += [accuracy, _row(f"{name} macro-F1", macro_f1(pair.y_query, given[name]), len(x))]
    hits, n = centroid_hits((x, pair.y_query), (x_reference, pair.y_reference), TOP)
    for k, found in zip(TOP, hits, strict=True):
        chance = min(k / len(pair.types), 1)
        rows.append(
            _row(f"centroid top {k}", found / n, len(x), note=f"{found:.0f} of {n} types; by chance {chance:.2f}")
        )
    pairs = pd.DataFrame({"truth": pair.types[pair.y_query], "predicted": pair.types[given["logistic"]]})
    return Result(rows, cells, pairs.value_counts().rename("n_cells").reset_index())


def _row(metric: str, value: float, n_cells: int, note: str = "") -> dict[str, Any]:
    return {"kind": "transfer", "metric": metric, "group": "all", "value": value, "n_cells": n_cells, "note": note}


def largest_type(pair: Pair, seed: int) -> pd.DataFrame:
    """What calling every cell the most common type of the reference would score."""
    given = np.full(len(pair.query), np.bincount(pair.y_reference).argmax())
    scores = {"accuracy": float((given == pair.y_query).mean()), "macro-F1": macro_f1(pair.y_query, given)}
    rows = [
        {"method": "largest type", "seed": seed} | _row(f"{name} {measure}", value, len(given))
        for name in NAMES
        for measure, value in scores.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)

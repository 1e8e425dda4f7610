"""Scores of labels transferred from a reference to a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench._bootstrap import Resampling, read_units
from univerce.bench._metrics import TOP, centroid_ranks, macro_f1, rotated, separated
from univerce.bench._result import COLUMNS, Result, add_intervals, confusion, row, shares_of_types
from univerce.bench._scored_cells import embedded
from univerce.bench._terms import hierarchical_rows
from univerce.embeddings.classifiers import CLASSIFIERS, among_best
from univerce.embeddings.labels import get_labels

NAMES: Final = {"kNN": "knn", "logistic": "logistic", "nearest centroid": "centroid"}


@dataclass(frozen=True, eq=False)
class Pair:
    """The scored cells of the query and the cells of the reference that classifiers are fitted to."""

    query: np.ndarray
    reference: np.ndarray
    """Rows."""
    y_query: np.ndarray
    y_reference: np.ndarray
    """Index of their types in ``types``."""
    types: np.ndarray
    units: np.ndarray | None
    """Donor or batch of the scored cells; None resamples the cells."""
    table: pd.DataFrame
    counts: dict[str, int]
    lines: np.ndarray | None = None
    """``[n_types, n_terms]`` terms of each type in an ontology; ``None`` without one."""


def choose_pair(
    query: ad.AnnData,
    reference: ad.AnnData,
    groupby: str,
    donor_key: str | None,
    embeddings: Sequence[np.ndarray],
    min_cells: int,
) -> Pair:
    """Choose the cells to fit and to score; ``ValueError`` without two types to fit or cells to score."""
    known_query, known_reference = np.split(embedded(embeddings), [query.n_obs])
    y, y_reference = (
        np.asarray(get_labels(a.obs, groupby, name=name), dtype=object)
        for a, name in ((query, "adata"), (reference, "reference"))
    )
    sizes = pd.Series(y_reference[known_reference]).value_counts()
    types = np.array(sorted(sizes.index[sizes >= min_cells]), dtype=object)
    fitted = np.flatnonzero(known_reference & np.isin(y_reference, types))
    scored = np.flatnonzero(known_query & np.isin(y, types))
    if len(types) < 2 or len(scored) == 0:
        some = ", ".join(map(repr, types[:5])) or "none"
        raise ValueError(
            f"The reference has {len(types)} types of obs[{groupby!r}] with {min_cells} cells or more ({some}), and "
            f"{len(scored)} cells of adata are of these types. Use the same labels in both, or lower min_cells=."
        )
    labeled = ~pd.isna(y)
    counts = {
        "scored": len(scored), "no label": int((~labeled).sum()), "no embedding": int((labeled & ~known_query).sum()),
        "type not in reference": int((labeled & known_query & ~np.isin(y, types)).sum()), "fitted": len(fitted),
        "reference, not fitted": reference.n_obs - len(fitted),
    }  # fmt: skip
    table = pd.DataFrame({"query": pd.Series(y).value_counts(), "reference": pd.Series(y_reference).value_counts()})
    table = table.fillna(0).astype(int).sort_index().rename_axis("type").reset_index()
    table["fitted"] = table["type"].isin(types)
    index = pd.Index(types)
    codes = index.get_indexer(y[scored]), index.get_indexer(y_reference[fitted])
    units = read_units(query.obs, donor_key)
    return Pair(scored, fitted, *codes, types, None if units is None else units[scored], table, counts)


def score_transfer(
    embedding: np.ndarray, pair: Pair, n_query: int, *, n_bootstrap: int, seed: int, unit: str
) -> Result:
    """Score one embedding ``[n_query + n_reference, n_dims]``, the query first."""
    both = np.concatenate([embedding[pair.query], embedding[n_query + pair.reference]])
    x, x_reference = np.split(rotated(separated(both)), [len(pair.query)])
    how, rows = Resampling(n_bootstrap, seed, pair.units, unit), list[dict[str, Any]]()
    cells, given = {}, {}
    for name, method in NAMES.items():
        fitted = CLASSIFIERS[method].fit(x_reference, pair.y_reference, len(pair.types))
        log_proba = fitted.log_proba(x)
        given[name] = log_proba.argmax(axis=1)
        top = f"{name} top {TOP[-1]} accuracy"
        cells[f"{name} accuracy"] = (given[name] == pair.y_query).astype(float)
        cells[top] = among_best(log_proba, pair.y_query, TOP[-1])
        rows += [*_label_rows(name, pair, given[name]), row("transfer", top, float(cells[top].mean()), n_cells=len(x))]
        rows += hierarchical_rows("transfer", name, pair.lines, pair.y_query, given[name], how)
    add_intervals(rows, cells, given, pair.y_query, how)
    ranks, shared = centroid_ranks((x, pair.y_query), (x_reference, pair.y_reference))
    for k in TOP:
        found = shares_of_types(ranks <= k, shared)
        found["note"] = f"{(ranks <= k).sum()} of {len(shared)} types; chance {min(k / len(pair.types), 1):.2f}"
        rows.append(row("transfer", f"centroid top {k}", n_cells=len(x), **found))
    named = {name: pd.Categorical.from_codes(codes, pd.Index(pair.types)) for name, codes in given.items()}
    return Result(rows, cells, confusion(pair.types, pair.y_query, given["logistic"]), named)


def largest_type(pair: Pair, seed: int) -> pd.DataFrame:
    """Scores of assigning the largest type of the reference to every cell."""
    given = np.full(len(pair.query), np.bincount(pair.y_reference).argmax())
    how, rows = Resampling(0, seed, None, ""), list[dict[str, Any]]()
    for name in NAMES:
        rows += _label_rows(name, pair, given)
        rows += hierarchical_rows("transfer", name, pair.lines, pair.y_query, given, how)
    return pd.DataFrame([{"method": "largest type", "seed": seed, "unit": ""} | r for r in rows], columns=COLUMNS)


def _label_rows(name: str, pair: Pair, given: np.ndarray) -> list[dict[str, Any]]:
    truth = pair.y_query
    scores = {"accuracy": float((given == truth).mean()), "macro-F1": float(macro_f1(truth, given)[0])}
    return [row("transfer", f"{name} {measure}", value, n_cells=len(given)) for measure, value in scores.items()]

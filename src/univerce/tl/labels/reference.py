"""Cells that a classifier learns from: where they lie, which of them are used, and what they look like."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.embeddings.cells import get_embedding, known_cells
from univerce.embeddings.labels import get_labels, label_names
from univerce.inference.tokens import cell_keys
from univerce.tl.ontology.terms import stated_terms

logger = logging.getLogger(__name__)
_NO_BATCH = "\0missing"


def count_labels(
    reference: ad.AnnData, labels: str, use_rep: str, *, min_cells: int, client: Any = None
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """The class of each cell, the classes, and the labels with too few cells; workers of ``client`` read the embedding.

    Returns
    -------
    ``[n_obs]`` class, -1 for cells without a label or an embedding and for those of too small classes; a table of the
    classes with ``n_cells``, in the order of the categories; one of the labels that are no class.

    Raises
    ------
    KeyError
        When there is no such column or embedding.
    ValueError
        When fewer than two labels have ``min_cells`` cells.
    """
    found = get_labels(reference.obs, labels, name="reference")
    codes = np.asarray(found.codes, dtype=np.int64)
    known = known_cells(get_embedding(reference, use_rep, name="reference"), client=client)
    for what, missing in (("label", codes < 0), ("embedding", (codes >= 0) & ~known)):
        if missing.any():
            logger.warning("%s of %s reference cells have no %s: left out.", missing.sum(), len(codes), what)
    codes[~known] = -1
    table = pd.DataFrame(
        {"n_cells": np.bincount(codes[codes >= 0], minlength=len(found.categories))},
        index=pd.Index(found.categories.astype(str), name="label"),
    )
    enough = table["n_cells"].to_numpy() >= min_cells
    if not enough.all():
        small = ", ".join(f"{name!r} ({n})" for name, n in table.loc[~enough, "n_cells"].items())
        logger.warning(
            "Labels with fewer than %s cells are never predicted; there are %s: %s.", min_cells, (~enough).sum(), small
        )
    if enough.sum() < 2:
        largest = table.sort_values("n_cells", ascending=False, kind="stable")["n_cells"].head(5)
        raise ValueError(
            f"A classifier needs two labels with {min_cells} cells or more; of the {len(table)} in "
            f"reference.obs[{labels!r}], {enough.sum()} have: "
            f"{', '.join(f'{name!r} has {n}' for name, n in largest.items())} with a label and an embedding."
        )
    position = np.where(enough, np.cumsum(enough) - 1, -1)
    return np.where(codes >= 0, position[codes], -1), table[enough].copy(), table[~enough].copy()


def choose_cells(codes: np.ndarray, names: pd.Index, *, max_cells: int | None, seed: int) -> np.ndarray:
    """Rows of at most ``max_cells`` cells of each class, in an order without meaning.

    Which cells, and their order, follow from the hash of each cell's name: where a cell stands does not matter.
    """
    rows = np.flatnonzero(codes >= 0)
    rows = rows[np.argsort(cell_keys(names[rows].astype(str).to_numpy(object), seed), kind="stable")]
    if max_cells is None:
        return rows
    rank = pd.Series(codes[rows]).groupby(codes[rows]).cumcount().to_numpy()
    return rows[rank < max_cells]


def class_values(reference: ad.AnnData, column: str, codes: np.ndarray, names: pd.Index) -> list[str]:
    """The one value of a column of ``obs`` that each class has, ``""`` for none.

    Raises
    ------
    KeyError
        When there is no such column.
    ValueError
        When a class has two.
    """
    values = get_labels(reference.obs, column, name="reference")
    pairs = pd.DataFrame({"class": codes, "value": np.asarray(values.astype(object))})
    found = pairs[(codes >= 0) & pairs["value"].notna()].drop_duplicates().groupby("class")["value"].agg(list)
    if len(many := found[found.map(len) > 1]):
        lists = zip(names[many.index[:5].to_numpy(int)], many.iloc[:5], strict=True)
        text = [f"{name!r} has {', '.join(map(repr, values[:4]))}" for name, values in lists]
        raise ValueError(
            f"reference.obs[{column!r}] must hold one value for each label, but {len(many)} labels have several: "
            f"{'; '.join(text)}."
        )
    return [found[k][0] if k in found.index else "" for k in range(len(names))]


def category_colors(reference: ad.AnnData, labels: str) -> dict[str, str]:
    """Colors of the labels, where ``uns`` has as many as there are categories."""
    column, colors = reference.obs[labels], reference.uns.get(f"{labels}_colors")
    if colors is None or not isinstance(column.dtype, pd.CategoricalDtype):
        return {}
    names = label_names(column.cat.categories)
    return dict(zip(names, map(str, colors), strict=True)) if len(names) == len(colors) else {}


def class_terms(
    reference: ad.AnnData, ids: str | Mapping[str, str] | None, codes: np.ndarray, names: pd.Index
) -> list[str]:
    """Ontology term of each label, ``""`` where there is none."""
    if ids is None:
        return [""] * len(names)
    if isinstance(ids, str):
        return class_values(reference, ids, codes, names)
    stated = stated_terms(ids)
    return [stated.get(name, "") for name in names]


def get_batches(reference: ad.AnnData, batch: str, rows: np.ndarray) -> np.ndarray:
    """Batch of each cell; cells without one form a batch."""
    found = get_labels(reference.obs, batch, name="reference")[rows]
    groups = np.asarray(found.astype(object))
    if (missing := pd.isna(groups)).any():
        logger.warning("%s reference cells have no %s: they count as one of their own.", missing.sum(), batch)
        groups[missing] = _NO_BATCH
    if len(set(groups)) < 2:
        raise ValueError(
            f"reference.obs[{batch!r}] has one value only, {groups[0]!r}; batch= needs two or more to hold one out. "
            "Leave it out."
        )
    return groups.astype(str)


def recorded_space(reference: ad.AnnData, use_rep: str) -> dict[str, Any]:
    """Width of the embedding, and what is known of its space."""
    entry = reference.uns.get(use_rep)
    params = entry.get("params") if isinstance(entry, Mapping) else None
    n_dims = get_embedding(reference, use_rep, name="reference").shape[1]
    return {"n_dims": n_dims, "params": plain(params) if isinstance(params, Mapping) else {}}


def plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same as plain dictionaries, and numpy scalars as those of Python, as they come from a file."""
    return {
        key: plain(value) if isinstance(value, Mapping) else value.item() if isinstance(value, np.generic) else value
        for key, value in tree.items()
    }

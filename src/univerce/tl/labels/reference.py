"""Reference cells of a classifier: classes, subsample, batches, colors and ontology terms."""

from __future__ import annotations

from collections.abc import Mapping

import anndata as ad
import numpy as np
import pandas as pd

from univerce._settings import logger
from univerce.embeddings.cells import Cells
from univerce.embeddings.labels import label_names
from univerce.inference.sentences import shuffled_rows
from univerce.tl.ontology.terms import stated_terms

_NO_BATCH = "\0missing"


def count_labels(cells: Cells, groupby: str, *, min_cells: int) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Find the classes among the labels; ``ValueError`` if fewer than two labels have ``min_cells`` cells.

    Returns ``[n_obs]`` class, -1 for cells without a label or an embedding and for labels with too few cells; a table
    of the classes with ``n_cells``, in the order of the categories; a table of the labels with too few cells.
    """
    labels = cells.labels(groupby)
    codes = np.asarray(labels.codes, dtype=np.int64)
    for what, missing in (("label", codes < 0), ("embedding", (codes >= 0) & ~cells.known)):
        if missing.any():
            logger.warning("%s of %s reference cells have no %s and are left out.", missing.sum(), len(codes), what)
    codes[~cells.known] = -1
    table = pd.DataFrame(
        {"n_cells": np.bincount(codes[codes >= 0], minlength=len(labels.categories))},
        index=pd.Index(labels.categories.astype(str), name="label"),
    )
    enough = table["n_cells"].to_numpy() >= min_cells
    if not enough.all():
        small = ", ".join(f"{name!r} ({n})" for name, n in table.loc[~enough, "n_cells"].items())
        logger.warning("%s labels have fewer than %s cells and are left out: %s.", (~enough).sum(), min_cells, small)
    if enough.sum() < 2:
        largest = table.sort_values("n_cells", ascending=False, kind="stable")["n_cells"].head(5)
        raise ValueError(
            f"A classifier needs two labels with {min_cells} cells or more; of the {len(table)} in "
            f"reference.obs[{groupby!r}], {enough.sum()} have: "
            f"{', '.join(f'{name!r} has {n}' for name, n in largest.items())} with a label and an embedding. "
            "Lower min_cells=."
        )
    position = np.where(enough, np.cumsum(enough) - 1, -1)
    return np.where(codes >= 0, position[codes], -1), table[enough].copy(), table[~enough].copy()


def choose_cells(codes: np.ndarray, names: np.ndarray, *, max_cells: int | None, seed: int) -> np.ndarray:
    """Subsample rows of at most ``max_cells`` cells per class, in an order that their names decide."""
    rows = shuffled_rows(names, np.flatnonzero(codes >= 0), seed)
    if max_cells is None:
        return rows
    rank = pd.Series(codes[rows]).groupby(codes[rows]).cumcount().to_numpy()
    return rows[rank < max_cells]


def class_colors(reference: ad.AnnData, groupby: str, classes: pd.Index) -> list[str]:
    """Color of each class in ``uns``, ``""`` if there is none or the number of colors does not fit."""
    column, colors = reference.obs[groupby], reference.uns.get(f"{groupby}_colors")
    if colors is None or not isinstance(column.dtype, pd.CategoricalDtype) or len(colors) != len(column.cat.categories):
        return [""] * len(classes)
    of_label = dict(zip(label_names(column.cat.categories), map(str, colors), strict=True))
    return [of_label.get(name, "") for name in classes]


def class_terms(
    cells: Cells, ontology_ids: str | Mapping[str, str] | None, codes: np.ndarray, classes: pd.Index
) -> list[str]:
    """Ontology term of each class, ``""`` for none; ``ValueError`` if a class has several."""
    if ontology_ids is None:
        return [""] * len(classes)
    if not isinstance(ontology_ids, str):
        stated = stated_terms(ontology_ids)
        return [stated.get(name, "") for name in classes]
    pairs = pd.DataFrame({"class": codes, "term": np.asarray(cells.labels(ontology_ids).astype(object))})
    terms = pairs[(codes >= 0) & pairs["term"].notna()].drop_duplicates().groupby("class")["term"].agg(list)
    if len(several := terms[terms.map(len) > 1]):
        lists = zip(classes[several.index[:5].to_numpy(int)], several.iloc[:5], strict=True)
        raise ValueError(
            f"reference.obs[{ontology_ids!r}] must hold one value for each label, but {len(several)} labels have "
            f"several: {'; '.join(f'{name!r} has ' + ', '.join(map(repr, values[:4])) for name, values in lists)}."
        )
    return [terms[k][0] if k in terms.index else "" for k in range(len(classes))]


def get_batches(cells: Cells, batch_key: str, rows: np.ndarray) -> np.ndarray:
    """``[len(rows)]`` batch of each cell; cells without one form a batch."""
    batches = np.asarray(cells.labels(batch_key).astype(object))[rows]
    if (missing := pd.isna(batches)).any():
        logger.warning("%s reference cells have no %s; they count as one batch.", missing.sum(), batch_key)
        batches[missing] = _NO_BATCH
    if len(set(batches)) < 2:
        raise ValueError(
            f"reference.obs[{batch_key!r}] has one value only, {batches[0]!r}; two or more are needed to hold one out. "
            "Leave batch_key= out."
        )
    return batches.astype(str)


def count_batches(y: np.ndarray, batches: np.ndarray | None, names: pd.Index) -> np.ndarray:
    """``[n_classes]`` batches of each label, 0 if none are given; labels of one batch only are logged."""
    if batches is None:
        return np.zeros(len(names), dtype=np.int64)
    pairs = pd.DataFrame({"class": y, "batch": batches}).drop_duplicates()
    n_batches = np.bincount(pairs["class"], minlength=len(names))
    if len(alone := names[n_batches == 1]):
        logger.warning(
            "%d labels occur in one batch only, so that nothing is known of their accuracy in another: %s.",
            len(alone), ", ".join(map(repr, alone)),
        )  # fmt: skip
    return n_batches

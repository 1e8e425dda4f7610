"""Labels of cells as text."""

from __future__ import annotations

import numpy as np
import pandas as pd


def get_labels(obs: pd.DataFrame, key: str, *, name: str = "adata") -> pd.Categorical:
    """The labels of the cells as text; a missing label is NaN, and only categories that occur are kept.

    Whole numbers read the same whether they are stored as integers or, as pandas does when one is missing, as floats.

    Raises
    ------
    KeyError
        When there is no such column; the message lists those there are.
    ValueError
        When no cell has a label, or the column holds fractions.
    """
    if key not in obs:
        available = ", ".join(map(repr, obs.columns)) or "none"
        raise KeyError(f"{name}.obs[{key!r}] does not exist; its columns are: {available}.")
    column = obs[key]
    if column.dtype.kind == "f" and (column.dropna() % 1 != 0).any():
        raise ValueError(f"{name}.obs[{key!r}] holds fractions, not labels.")
    stated = isinstance(column.dtype, pd.CategoricalDtype)
    labels = (column.array if stated else pd.Categorical(column)).remove_unused_categories()
    if len(labels.categories) == 0:
        why = "every cell is missing one" if len(column) else "there is no cell"
        raise ValueError(f"{name}.obs[{key!r}] has no label at all; {why}.")
    names = label_names(labels.categories)
    kept = names.unique() if stated else names.unique().sort_values()
    codes = np.append(kept.get_indexer(names), -1)  # the last is where a missing label looks
    return pd.Categorical.from_codes(codes[labels.codes], categories=kept)


def label_names(labels: pd.Index) -> pd.Index:
    """Labels as text; whole numbers have no decimal point."""
    pairs = zip(labels, labels.astype(str), strict=True)
    return pd.Index(
        [str(int(x)) if isinstance(x, float) and x.is_integer() else text for x, text in pairs], dtype=object
    )

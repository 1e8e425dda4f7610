"""Labels of cells as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from univerce._validate import get_column

_MISSING = ["", "nan", "NaN", "<NA>"]  # what missing labels become as text; "None" may be a label


def get_labels(obs: pd.DataFrame, key: str, *, name: str = "adata") -> pd.Categorical:
    """Read labels as text; missing labels are NaN, and unused categories are dropped.

    Integers read the same if pandas stores them as floats because one is missing. Missing labels that were converted to
    text (``"nan"``, ``"<NA>"``, ``""``) are missing. ``KeyError`` if the column does not exist, ``ValueError`` if no
    cell has a label, or the column holds fractions.
    """
    if key not in obs:
        available = ", ".join(map(repr, obs.columns)) or "none"
        raise KeyError(f"{name}.obs[{key!r}] does not exist; its columns are: {available}.")
    column = get_column(obs, key, name=f"{name}.obs")
    if column.dtype.kind == "f" and (column.dropna() % 1 != 0).any():
        raise ValueError(f"{name}.obs[{key!r}] holds fractions, not labels.")
    stated = isinstance(column.dtype, pd.CategoricalDtype)
    labels = (column.array if stated else pd.Categorical(column)).remove_unused_categories()
    names = label_names(labels.categories)
    kept = names.unique() if stated else names.unique().sort_values()
    kept = kept[~kept.isin(_MISSING)]
    if len(kept) == 0:
        why = "every cell is missing one" if len(column) else "there is no cell"
        raise ValueError(f"{name}.obs[{key!r}] has no label at all; {why}.")
    codes = np.append(kept.get_indexer(names), -1)  # the last is for missing labels
    return pd.Categorical.from_codes(codes[labels.codes], categories=kept)


def given_labels(labels: Any) -> list[str]:
    """One or several labels given by a user, as text as by :func:`get_labels`."""
    several = [labels] if isinstance(labels, str) or not isinstance(labels, Iterable) else list(labels)
    return list(label_names(pd.Index(several, dtype=object)))


def label_names(labels: pd.Index) -> pd.Index:
    """Convert labels to text, integers without a decimal point."""
    pairs = zip(labels, labels.astype(str), strict=True)
    return pd.Index(
        [str(int(x)) if isinstance(x, float) and x.is_integer() else text for x, text in pairs], dtype=object
    )

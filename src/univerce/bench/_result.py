"""The rows of the table of scores, and what else is kept of one embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from univerce.bench._bootstrap import TYPES, clopper_pearson, counts_interval
from univerce.bench._metrics import macro_f1, pairs_of

COLUMNS: Final = ["method", "seed", "kind", "metric", "group", "value", "low", "high", "unit", "n_cells", "note"]


@dataclass(frozen=True, eq=False)
class Result:
    """The scores of one embedding."""

    rows: list[dict[str, Any]]
    """Rows of the table of scores."""
    cells: dict[str, np.ndarray]
    """``[n]`` contribution of each scored cell to a metric that is a mean over cells."""
    confusion: pd.DataFrame
    """Cells by type and by predicted type across batches."""
    predicted: dict[str, pd.Categorical]
    """``[n]`` type of each scored cell by each classifier."""
    left_out: pd.DataFrame | None = None
    """scIB scores (columns) without each of the units (rows)."""


def row(kind: str, metric: str, value: float = np.nan, *, group: str = "all", note: str = "", **more: Any) -> dict:
    """One row of the table of scores."""
    return {"kind": kind, "metric": metric, "group": group, "value": value, "note": note, **more}


def f1_interval(
    truth: np.ndarray, given: np.ndarray, n: int, seed: int, units: np.ndarray | None, unit: str
) -> dict[str, Any]:
    """Columns of the interval of macro-F1 of the cells ``[n]`` with a given type, not -1."""
    known = given >= 0
    true, other, place = pairs_of(truth[known], given[known])
    units = None if units is None else units[known]
    return counts_interval(place, lambda counts: macro_f1(true, other, counts), n, seed, units, unit)


def shares_of_types(found: np.ndarray, types: np.ndarray) -> dict[str, Any]:
    """Share of the searches ``[n]`` that found their type, and its exact interval as if each type were searched once.

    The centroids of two batches are of the same cells whatever batch the other is, so that types are independent, not
    searches.
    """
    n_types = len(np.unique(types))
    if n_types == 0:
        return {"value": np.nan, "note": "no type in two batches"}
    share = float(found.mean())
    low, high = clopper_pearson(share * n_types, n_types)
    return {"value": share, "low": low, "high": high, "unit": TYPES, "note": f"{len(found)} types searched for"}


def confusion(names: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Numbers of cells by true and predicted type."""
    pairs = pd.DataFrame({"truth": names[truth], "predicted": names[predicted]})
    return pairs.value_counts().rename("n_cells").reset_index()

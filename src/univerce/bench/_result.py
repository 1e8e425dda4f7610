"""The rows of the table of scores, and what else is kept of one embedding."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd

from univerce.bench._bootstrap import TYPES, Resampling, counts_interval, interval_columns
from univerce.bench._metrics import macro_f1, pairs_of
from univerce.embeddings.ranks import clopper_pearson

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


def add_intervals(
    rows: Iterable[dict[str, Any]], cells: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray],
    truth: np.ndarray, how: Resampling, *, by_type: Container[str] = (),
) -> None:  # fmt: skip
    """Add intervals to the scores of all cells: means over ``cells`` ``[n]`` or over types, and macro-F1.

    ``given`` has the predicted type of each cell by name of the classifier, -1 for none.
    """
    for r in rows if how.n else ():
        if r["group"] != "all" or np.isnan(r["value"]):
            continue
        if r["metric"] in cells:
            r |= interval_columns(cells[r["metric"]], how, truth if r["metric"] in by_type else None)
        elif (predicted := given.get(r["metric"].removesuffix(" macro-F1"))) is not None:
            known = predicted >= 0
            true, other, place = pairs_of(truth[known], predicted[known])
            r |= counts_interval(place, partial(macro_f1, true, other), how.of(known))


def shares_of_types(found: np.ndarray, types: np.ndarray) -> dict[str, Any]:
    """Share of the searches ``[n]`` that found their type, and its exact interval as if each type were searched once.

    The centroids of two batches are of the same cells whatever batch the other is, so that types are independent, not
    searches.
    """
    n_types = len(np.unique(types))
    if n_types == 0:
        return {"value": np.nan, "note": "no type in two batches"}
    share = float(found.mean())
    low, high = map(float, clopper_pearson(share * n_types, n_types))
    return {"value": share, "low": low, "high": high, "unit": TYPES, "note": f"{len(found)} types searched for"}


def confusion(names: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Numbers of cells by true and predicted type."""
    pairs = pd.DataFrame({"truth": names[truth], "predicted": names[predicted]})
    return pairs.value_counts().rename("n_cells").reset_index()

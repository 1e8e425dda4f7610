"""A value of each cell type in several embeddings, as points on a line."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from univerce.pl._figure import BASELINE, MARKERS, MM, PALETTE
from univerce.pl._parts import Labels, add_legend, fit_labels, named, row_width, set_rows

_ROW, _AROUND, _ENTRY = 3.4 * MM, 16 * MM, 3.6 * MM


def points_size(table: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches of the rows, the axis below and the legend above."""
    labels = _labels(table)
    return row_width(labels), _AROUND + max(labels.extent, 2 * _ROW) + _ENTRY * (1 + table.shape[1])


def draw_points(
    ax: Axes, table: pd.DataFrame, names: Mapping[str, str], *, label: str, chance: pd.Series | None = None
) -> None:
    """Draw a row per cell type, the one with the highest value on top.

    ``table`` is ``[n_types, n_series]``, where NaN is not drawn, ``names`` has the entries of the legend, and
    ``chance`` the value of each type in a random order, drawn as a tick.
    """
    table = table.loc[table.max(axis=1).sort_values(ascending=False, kind="stable").index]
    y = np.arange(len(table))
    label_of = dict(zip(table.columns, named([names[column] for column in table.columns]), strict=True))
    ax.hlines(y, table.min(axis=1), table.max(axis=1), color=BASELINE, linewidth=0.8, zorder=1)
    for i, column in enumerate(table.columns):
        place = y + 0.16 * (i - (table.shape[1] - 1) / 2)  # slightly apart, so that none hides another
        ax.plot(
            table[column], place, linestyle="none", marker=MARKERS[i % len(MARKERS)], label=label_of[column],
            color=PALETTE[i % len(PALETTE)], markersize=4, markeredgewidth=0.3, markeredgecolor="white",
        )  # fmt: skip
    if chance is not None:
        ax.plot(chance.reindex(table.index), y, "k|", markersize=5, markeredgewidth=0.8, label="random order")
    set_rows(ax, _labels(table))
    ax.set_xlabel(label, loc="right")  # may extend over the names of the types
    add_legend(ax)


def _labels(table: pd.DataFrame) -> Labels:
    return fit_labels(table.index, least=_ROW)

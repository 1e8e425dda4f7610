"""A value of each cell type in several embeddings, as points on a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from univerce.pl._figure import BASELINE, MARKERS, PALETTE, wrap
from univerce.pl._parts import add_legend, set_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW, _AROUND, _ENTRY = 0.17, 0.55, 0.14


def points_height(table: pd.DataFrame) -> float:
    """Height in inches of the rows, the axis below and the legend above."""
    lines = sum(1 + 0.6 * text.count("\n") for text in wrap(table.index))
    return _AROUND + _ROW * max(lines, 2) + _ENTRY * (1 + table.shape[1])


def draw_points(
    ax: Axes, table: pd.DataFrame, names: Mapping[str, str], *, label: str, chance: pd.Series | None = None
) -> None:
    """Draw a row per cell type, the one with the highest value on top.

    ``table`` is ``[n_types, n_series]``, where NaN is not drawn, ``names`` has the entries of the legend, and
    ``chance`` the value of each type in a random order, drawn as a tick.
    """
    table = table.loc[table.max(axis=1).sort_values(ascending=False, kind="stable").index]
    y = np.arange(len(table))
    ax.hlines(y, table.min(axis=1), table.max(axis=1), color=BASELINE, linewidth=0.8, zorder=1)
    for i, column in enumerate(table.columns):
        place = y + 0.16 * (i - (table.shape[1] - 1) / 2)  # slightly apart, so that none hides another
        ax.plot(
            table[column], place, linestyle="none", marker=MARKERS[i % len(MARKERS)], label=names[column],
            color=PALETTE[i % len(PALETTE)], markersize=4, markeredgewidth=0.3, markeredgecolor="white",
        )  # fmt: skip
    if chance is not None:
        ax.plot(chance.reindex(table.index), y, "k|", markersize=5, markeredgewidth=0.8, label="random order")
    set_rows(ax, table.index)
    ax.set_xlabel(label, loc="right")  # may extend over the names of the types
    add_legend(ax)

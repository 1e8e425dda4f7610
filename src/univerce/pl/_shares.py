"""Shares of types that are met, beside what shuffled labels give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from univerce.pl._figure import PALETTE, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.19
"""Inches of a bar."""
AROUND = 0.95
"""Inches of what stands above and below the bars."""


def draw_shares(ax: Axes, parts: Sequence[tuple[str, pd.DataFrame]], names: Sequence[str], label: str) -> None:
    """Bars of ``share`` with ``hits / n``, the interval of ``chance`` in black; a group of bars for each name.

    Parameters
    ----------
    ax
        Where to draw.
    parts
        Name and table of each series, a row for each of ``names``.
    names
        Names of the groups of bars.
    label
        Label of the horizontal axis.
    """
    height = 0.8 / len(parts)
    for i, (series, table) in enumerate(parts):
        y = np.arange(len(names)) - 0.4 + (i + 0.5) * height
        ax.barh(y, np.nan_to_num(100 * table["share"]), height=0.92 * height, color=PALETTE[i], label=series)
        low, middle, high = (100 * table[key].to_numpy(float) for key in ("chance_low", "chance", "chance_high"))
        ax.hlines(y, low, high, color="black", linewidth=0.8, label="shuffled labels" if i == 0 else None)
        ax.plot(middle, y, "k|", markersize=4)
        ends = np.fmax(np.nan_to_num(high), np.nan_to_num(100 * table["share"].to_numpy(float)))
        for end, place, hits, n in zip(ends, y, table["hits"], table["n"], strict=True):
            text = f"{int(hits)} / {int(n)}"
            ax.annotate(text, (end, place), (3, 0), textcoords="offset points", va="center", size=6)
    ax.set_yticks(np.arange(len(names)), wrap(names))
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 118), xticks=[0, 25, 50, 75, 100], ylim=(len(names) - 0.4, -0.6), xlabel=label)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)

"""Bars of shares, with the interval of shuffled labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from univerce.pl._figure import BASELINE, MATCH, MM
from univerce.pl._parts import Labels, add_legend, fit_labels, mark, row_width, set_rows

_AROUND = 26 * MM


class Series(NamedTuple):
    """Bars of one color."""

    name: str
    table: pd.DataFrame
    """``share``, ``hits`` and ``n`` of each group, and ``chance``, ``chance_low`` and ``chance_high``."""
    color: str


def by_representation(scores: pd.DataFrame) -> list[Series]:
    """Bars of the embedding and of the baseline."""
    parts = scores.groupby(scores["representation"].astype(str), sort=False)
    return [Series(str(name), part, color) for (name, part), color in zip(parts, (MATCH, BASELINE), strict=False)]


def shares_size(series: Sequence[Series], names: Sequence[str]) -> tuple[float, float]:
    """Width and height in inches of the bars, the axis below and the legend above."""
    labels = _labels(series, names)
    return row_width(labels, 55 * MM), _AROUND + labels.extent


def _labels(series: Sequence[Series], names: Sequence[str]) -> Labels:
    least = 0.37 * MM * _number_size(fit_labels(names)) * (0.25 + len(series))  # a number beside each bar
    return fit_labels(names, least=least)


def _number_size(labels: Labels) -> float:
    return max(5.0, labels.size - 0.5)


def draw_shares(ax: Axes, series: Sequence[Series], names: Sequence[str], *, label: str, chance: str) -> None:
    """Draw bars of ``share`` with ``hits / n``, and chance as a tick on its 95 % interval.

    Each of ``names`` has a bar of every series. ``chance`` is the entry in the legend.
    """
    labels = _labels(series, names)
    height = 0.8 / len(series)
    for i, (_, table, color) in enumerate(series):
        y = np.arange(len(names)) - 0.4 + (i + 0.5) * height
        share, low, middle, high = (
            100 * table[key].to_numpy(float) for key in ("share", "chance_low", "chance", "chance_high")
        )
        ax.barh(y, np.nan_to_num(share), height=0.92 * height, color=color)
        ax.hlines(y, low, high, color="black", linewidth=0.8)
        ax.plot(middle, y, "k|", markersize=4, markeredgewidth=0.8, clip_on=False)
        ends = np.nanmax([np.zeros(len(y)), share, middle, high], axis=0)
        for end, place, hits, n in zip(ends, y, table["hits"], table["n"], strict=True):
            text = f"{int(hits)} / {int(n)}"
            ax.annotate(text, (end, place), (3, 0), textcoords="offset points", va="center", size=_number_size(labels))
    set_rows(ax, labels)
    ax.set(xlim=(0, 118), xticks=[0, 25, 50, 75, 100])
    ax.set_xlabel(label, loc="right")  # may extend over the names
    handles: list[Any] = [Patch(color=color, label=name) for name, _, color in series]
    if any(table["chance"].notna().any() for _, table, _ in series):
        handles.append(mark(chance, color="black", linestyle="-", linewidth=0.8, marker="|", markersize=4))
    add_legend(ax, handles=handles)

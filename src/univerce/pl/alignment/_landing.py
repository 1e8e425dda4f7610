"""The heat map of which type lands on which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from univerce.pl._figure import MATCH, MISMATCH, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_types(ax: Axes, pairs: pd.DataFrame, name: str) -> None:
    """Draw the pairs of one representation, which is called ``name``."""
    from matplotlib.colors import LinearSegmentedColormap

    distance = pairs.pivot_table("distance", "query", "reference", aggfunc="mean", observed=True)
    rows, columns, n_shared = _order(distance)
    grays = LinearSegmentedColormap.from_list("near", ["#8C8C8C", "#FFFFFF"]).with_extremes(bad="#F3EFE6")
    image = ax.imshow(distance.loc[rows, columns].to_numpy(float), cmap=grays, aspect="auto", interpolation="none")
    ax.set_xticks(range(len(columns)), wrap(columns), rotation=90)
    ax.set_yticks(range(len(rows)), wrap(rows))
    ax.set(xlabel="Reference", ylabel="Query")
    ax.tick_params(length=0)
    ax.spines[["top", "right"]].set_visible(True)
    if 0 < n_shared < len(rows):
        ax.axhline(n_shared - 0.5, color="black", linewidth=0.6)
    if 0 < n_shared < len(columns):
        ax.axvline(n_shared - 0.5, color="black", linewidth=0.6)
    _mark(ax, pairs, rows, columns)
    colors = ax.figure.colorbar(image, ax=ax, shrink=0.6, aspect=30, pad=0.02)
    colors.set_label(f"Distance of the centroids, {name}")
    colors.outline.set_linewidth(0.4)


def _mark(ax: Axes, pairs: pd.DataFrame, rows: list[str], columns: list[str]) -> None:
    """Where the nearest type of the reference is, as large as the share of tissues, and where the same type is."""
    from matplotlib.lines import Line2D

    least = pairs.groupby(["tissue", "query"], observed=True)["rank_cross"].transform("min")
    landed = (
        pairs[pairs["rank_cross"] == least].groupby(["query", "reference"], observed=True).size().reset_index(name="n")
    )
    n_tissues = pairs.groupby("query", observed=True)["tissue"].nunique()
    kinds: dict[str, dict[str, Any]] = {
        "same": {"marker": "o", "color": MATCH, "label": "nearest: the same type"},
        "other": {"marker": "x", "color": MISMATCH, "markeredgewidth": 1.2, "label": "nearest: another type"},
        "none": {"marker": "+", "color": "black", "markeredgewidth": 0.7, "label": "nearest; not in the reference"},
    }
    place = {label: x for x, label in enumerate(columns)}
    for query, reference, n in landed.itertuples(index=False):
        kind = "same" if query == reference else "other" if query in place else "none"
        size = 1.5 + 3 * n / n_tissues[query]
        ax.plot(place[reference], rows.index(query), markersize=size, linestyle="none", **kinds[kind])
    square: dict[str, Any] = {
        "marker": "s",
        "markersize": 6.5,
        "color": "black",
        "markerfacecolor": "none",
        "markeredgewidth": 0.5,
    }
    for y, row in enumerate(rows):
        if row in place:
            ax.plot(place[row], y, linestyle="none", **square)
    handles = [Line2D([], [], linestyle="none", markersize=4.5, **kind) for kind in kinds.values()]
    handles.insert(1, Line2D([], [], linestyle="none", label="where the same type is", **square))
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, columnspacing=1, handletextpad=0.2)


def _order(distance: pd.DataFrame) -> tuple[list[str], list[str], int]:
    """Rows and columns: the types of both in one order, like ones side by side, then those of one side."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shared = [label for label in distance.index if label in distance.columns]
    if len(shared) > 2:
        square = distance.loc[shared, shared].to_numpy(dtype=float)
        square = np.where(np.isnan(square), np.nanmax(square), square)
        apart = squareform(square + square.T, checks=False)  # without the diagonal, which need not be zero
        shared = [shared[i] for i in leaves_list(linkage(apart, "average", optimal_ordering=True))]
    place = {label: i for i, label in enumerate(shared)}
    rest = [label for label in distance.index if label not in place]
    others = [label for label in distance.columns if label not in place]
    nearest = distance.T.idxmin()
    rest.sort(key=lambda label: (place.get(nearest[label], len(place)), label))
    return [*shared, *rest], [*shared, *others], len(shared)

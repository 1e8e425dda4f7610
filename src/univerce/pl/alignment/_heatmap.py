"""Heat map of the distances between the types of a query and of a reference."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap

from univerce.pl._figure import MATCH, MISMATCH, MM
from univerce.pl._parts import add_colorbar, add_legend, fit_grid, mark, set_columns, set_rows

_CELL = 4.6 * MM
_MARKS: dict[str, dict[str, Any]] = {
    "same": {"marker": "o", "color": MATCH, "label": "nearest: same type"},
    "match": {
        "marker": "s", "color": "black", "markerfacecolor": "none", "markeredgewidth": 0.5, "markersize": 6.5,
        "label": "same type",
    },
    "other": {"marker": "x", "color": MISMATCH, "markeredgewidth": 1.2, "label": "nearest: another type"},
    "absent": {"marker": "+", "color": "black", "markeredgewidth": 0.7, "label": "nearest, type not in reference"},
}  # fmt: skip


def heatmap_size(pairs: pd.DataFrame) -> tuple[float, float]:
    """Width and height in inches of the heat map with all its labels."""
    return fit_grid(pairs["query"].unique(), pairs["reference"].unique(), cell=_CELL).size(above=11 * MM)


def draw_heatmap(ax: Axes, pairs: pd.DataFrame, name: str, cmap: str | Colormap | None) -> None:
    """Draw the pairs of one representation, named ``name``."""
    distance = pairs.pivot_table("distance", "query", "reference", aggfunc="mean", observed=True)
    rows, columns, n_shared = _order(distance)
    grays = LinearSegmentedColormap.from_list("near", ["#8C8C8C", "#FFFFFF"])
    colors = (grays if cmap is None else mpl.colormaps.get_cmap(cmap)).with_extremes(bad="#F3EFE6")
    image = ax.imshow(distance.loc[rows, columns].to_numpy(float), cmap=colors, aspect="auto", interpolation="none")
    grid = fit_grid(rows, columns, cell=_CELL)
    set_rows(ax, grid.rows)
    set_columns(ax, grid.columns)
    ax.set(xlabel="Reference", ylabel="Query", ylim=(len(rows) - 0.5, -0.5))
    ax.spines[["top", "right"]].set_visible(True)
    for draw_line, labels in ((ax.axhline, rows), (ax.axvline, columns)):
        if 0 < n_shared < len(labels):
            draw_line(n_shared - 0.5, color="black", linewidth=0.6)
    _draw_marks(ax, pairs, rows, columns, grid.rows.pitch / MM)
    add_colorbar(ax, image, f"Distance of centroids, {name}", grid)


def _draw_marks(ax: Axes, pairs: pd.DataFrame, rows: list[str], columns: list[str], pitch: float) -> None:
    """Mark the nearest type of the reference, with a size by its share of tissues, and the same type."""
    full = min(4.5, 2 * pitch)  # points
    least = pairs.groupby(["tissue", "query"], observed=True)["rank_cross"].transform("min")
    nearest = pairs[pairs["rank_cross"] == least].groupby(["query", "reference"], observed=True).size()
    n_tissues = pairs.groupby("query", observed=True)["tissue"].nunique()
    place = {label: x for x, label in enumerate(columns)}
    for query, reference, n in nearest.reset_index().itertuples(index=False):
        kind = "same" if query == reference else "other" if query in place else "absent"
        size = full * (1 + 2 * n / n_tissues[query]) / 3
        ax.plot(place[reference], rows.index(query), linestyle="none", **_MARKS[kind] | {"markersize": size})
    for y, row in enumerate(rows):
        if row in place:
            ax.plot(place[row], y, linestyle="none", **_MARKS["match"] | {"markersize": 1.45 * full})
    handles = [mark(**{"markersize": 4.5} | look) for look in _MARKS.values()]
    add_legend(ax, handles=handles, ncols=2, columnspacing=1, handletextpad=0.2)


def _order(distance: pd.DataFrame) -> tuple[list[str], list[str], int]:
    """Order rows and columns: shared types clustered, then those of one side; and the number of shared types."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shared = [label for label in distance.index if label in distance.columns]
    if len(shared) > 2:
        square = distance.loc[shared, shared].to_numpy(dtype=float)
        square = np.where(np.isnan(square), np.nanmax(square), square)
        apart = squareform(square + square.T, checks=False)  # the diagonal need not be zero
        shared = [shared[i] for i in leaves_list(linkage(apart, "average", optimal_ordering=True))]
    place = {label: i for i, label in enumerate(shared)}
    rest = [label for label in distance.index if label not in place]
    others = [label for label in distance.columns if label not in place]
    nearest = distance.T.idxmin()
    rest.sort(key=lambda label: (place.get(nearest[label], len(place)), label))
    return [*shared, *rest], [*shared, *others], len(shared)

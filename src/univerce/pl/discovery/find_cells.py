"""Plot where found cells are abundant."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce._validate import check_whole
from univerce.pl._figure import BASELINE, CHANCE, DOUBLE, MATCH, MM, finish, get_panels, get_result, style, wrap
from univerce.pl._parts import fit_labels, row_width, set_rows

_ROW, _AROUND = 3.6 * MM, 27 * MM
_MIN_ROWS = 3


@document
def find_cells(
    adata: ad.AnnData,
    key: str = "found",
    *,
    by: str | None = None,
    n_top: int = 20,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Plot the share of found cells of every data set or tissue, the highest lower bound first.

    Lines are 95 % intervals that hold for all groups together, numbers count found cells and all cells. The dashed line
    is the upper bound of the false positive rate on held-out cells: the most to expect without any true positive. Bars
    whose interval lies above it are dark.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.find_cells`.
    %(key)s
    by
        Column that cells were counted by; ``None`` plots all of them side by side.
    n_top
        Maximum number of rows per column; the title states if there are more.
    %(title, figsize, ax, show, return_fig, drawn)s
    ValueError
        If cells were not counted by ``by``, or by any column, or ``ax`` is given for several.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(cells)
    >>> adata, known = cells[::2].copy(), cells[1::2].copy()
    >>> uc.tl.find_cells(adata, known, groupby="cell_type", groups="Dendritic", abundance_by="cell_type")
    >>> uc.pl.find_cells(adata, show=False)
    <Axes: ...>
    """
    result = get_result(adata, key, made_by="uc.tl.find_cells", needs=("table", "scores.false_positive_rate_high"))
    check_whole("n_top", n_top, 1)
    columns = {str(name): part for name, part in result["table"].groupby("by", sort=False, observed=True)}
    columns.pop("all", None)
    available = ", ".join(map(repr, columns))
    if not columns:
        raise ValueError("Found cells were not counted by any column. Call uc.tl.find_cells with abundance_by=.")
    if by is not None and by not in columns:
        raise ValueError(f"by={by!r} was not counted by; choose from {available}.")
    parts = columns if by is None else {by: columns[by]}
    n_rows = max(_MIN_ROWS, *(min(len(part), n_top) for part in parts.values()))
    narrow = 24 if len(parts) > 2 else 32 if len(parts) > 1 else None
    labels = [fit_labels(part["group"].iloc[:n_top], least=_ROW, width=narrow) for part in parts.values()]
    false_rate = float(result["scores"]["false_positive_rate_high"])
    with style():
        n_below = -(-len(parts) // 3)
        height = n_below * (n_rows * max(fitted.pitch for fitted in labels) + _AROUND)
        width = row_width(labels[0], 50 * MM) if len(parts) == 1 else DOUBLE
        figure, axes = get_panels(ax, figsize or (width, height), len(parts))
        for panel, fitted, (name, part) in zip(axes, labels, parts.items(), strict=True):
            _draw(panel, name, part, n_top, false_rate)
            set_rows(panel, fitted, n_rows=n_rows)
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)


def _draw(ax: Axes, name: str, table: pd.DataFrame, n_top: int, false_rate: float) -> None:
    top = table.iloc[:n_top]
    y = np.arange(len(top))
    share, low, high = (100 * top[column].to_numpy(float) for column in ("share", "low", "high"))
    ax.barh(y, np.nan_to_num(share), color=np.where(low > 100 * false_rate, MATCH, CHANCE), height=0.72)
    ax.hlines(y, low, high, color="black", linewidth=0.7)
    ax.axvline(100 * false_rate, color=BASELINE, linestyle=(0, (4, 3)), linewidth=0.9, zorder=3)
    right = np.nanmax([*high, 100 * false_rate, 1e-9])
    for row, end, n_found, n_cells in zip(y, np.nan_to_num(high), top["n_found"], top["n_cells"], strict=True):
        text = f"{int(n_found):,} / {int(n_cells):,}" if n_cells else "no embedding"
        ax.annotate(text, (end, row), (3, 0), textcoords="offset points", va="center", size=6)
    ax.set_xlim(0, 1.35 * right)
    ax.set_xlabel(f"Cells found (%)\ndashed: {100 * false_rate:.2g} % or less without any", loc="right")
    ax.set_xticks([tick for tick in ax.get_xticks() if tick <= min(100, 1.35 * right)])
    ax.set_title(wrap([name + (f" (first {len(top)} of {len(table)})" if len(table) > len(top) else "")])[0])

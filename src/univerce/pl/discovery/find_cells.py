"""Draw where found cells are abundant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce.pl._figure import BASELINE, CHANCE, DOUBLE, MATCH, MM, SINGLE, finish, get_axes, get_result, style, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 4.2 * MM
_LINE = 2.8 * MM
_AROUND = 22 * MM
_FEW = 3


def find_cells(
    adata: ad.AnnData,
    key: str = "found",
    *,
    by: str | None = None,
    n_top: int = 20,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Draw the share of the cells of every data set or tissue that was found, the highest first.

    The lines are 95 % intervals (Wilson), the numbers count found cells and all cells. The dashed line is the false
    positive rate of held-out cells: the share to expect where there is none of the cells that were sought. Rows whose
    interval lies wholly above it are dark.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.tl.find_cells`.
    key
        Its ``key_added``.
    by
        Column that was counted by; ``None`` draws all of them side by side.
    n_top
        Most rows of a column; the title says when there are more.
    figsize
        Inches; ``None`` is one column of a page wide, or a page for several, and as high as there are rows.
    ax
        Draw into these axes, which takes one ``by``.
    show
        Show the figure; ``None`` shows it unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    ``None`` when the figure was shown, else the axes (an array when there are several), or the figure with
    ``return_fig``.

    Raises
    ------
    KeyError
        When the results are not in ``uns``.
    ValueError
        When cells were not counted by ``by``, or by nothing, or ``ax`` is given for several.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(cells)
    >>> adata, known = cells[::2].copy(), cells[1::2].copy()
    >>> _ = uc.tl.find_cells(
    ...     adata, known, groupby="cell_type", groups="Dendritic", abundance_by="phase"
    ... )
    >>> uc.pl.find_cells(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.tl.find_cells", needs=("abundance", "scores", "params"))
    table = found["abundance"]
    table = table[table["by"].astype(str) != "all"]
    counted = list(dict.fromkeys(table["by"].astype(str)))
    if not counted:
        raise ValueError("The found cells were not counted by any column; call uc.tl.find_cells with abundance_by=.")
    if by is not None and by not in counted:
        raise ValueError(f"by={by!r} was not counted by; there is {', '.join(map(repr, counted))}.")
    if isinstance(n_top, bool) or n_top < 1:
        raise ValueError(f"n_top={n_top!r} must be an integer >= 1.")
    drawn = counted if by is None else [by]
    if ax is not None and len(drawn) > 1:
        raise ValueError(f"ax= takes one panel; choose one of {', '.join(map(repr, counted))} with by=.")
    parts = [table[table["by"].astype(str) == name] for name in drawn]
    n_rows = max(_FEW, *(min(len(part), n_top) for part in parts))
    n_lines = max(label.count("\n") + 1 for part in parts for label in wrap(part["group"].iloc[:n_top]))
    with style():
        import matplotlib.pyplot as plt

        own = ax is None
        size = figsize or (SINGLE if len(drawn) == 1 else DOUBLE, n_rows * (_ROW + (n_lines - 1) * _LINE) + _AROUND)
        if len(drawn) == 1:
            figure, one = get_axes(ax, *size)
            axes = np.array([one])
        else:
            figure, axes = plt.subplots(figsize=size, layout="constrained", ncols=len(drawn))
        for panel, name, part in zip(axes, drawn, parts, strict=True):
            _draw(panel, name, part, n_top, n_rows, float(found["scores"]["false_positive_rate"]))
        return finish(figure, axes if len(drawn) > 1 else axes[0], own=own, show=show, return_fig=return_fig)


def _draw(ax: Axes, name: str, table: pd.DataFrame, n_top: int, n_rows: int, false: float) -> None:
    top = table.iloc[:n_top]
    y = np.arange(len(top))
    share, low, high = (100 * top[column].to_numpy(float) for column in ("share", "low", "high"))
    colors = np.where(low > 100 * false, MATCH, CHANCE)
    ax.barh(y, np.nan_to_num(share), color=colors, height=0.72)
    ax.hlines(y, low, high, color="black", linewidth=0.7)
    ax.axvline(100 * false, color=BASELINE, linestyle=(0, (4, 3)), linewidth=0.9, zorder=3)
    right = np.nanmax([*high, 100 * false, 1e-9])
    for row, end, n_found, n_cells in zip(y, high, top["n_found"], top["n_cells"], strict=True):
        text = f"{int(n_found):,} / {int(n_cells):,}" if n_cells else "no embedding"
        place = (end if np.isfinite(end) else 0, row)
        ax.annotate(text, place, (3, 0), textcoords="offset points", va="center", size=6)
    ax.set_yticks(y, wrap(top["group"]))
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 1.35 * right), ylim=(n_rows - 0.4, -0.6))
    ax.set_xlabel(f"Cells found (%)\ndashed: {100 * false:.2g} %, as of held-out other cells")
    ax.set_xticks([tick for tick in ax.get_xticks() if tick <= min(100, 1.35 * right)])
    more = f" (first {len(top)} of {len(table)})" if len(table) > len(top) else ""
    ax.set_title(f"{name}{more}")

"""Shared by all plots: paper sizes, a style, colors for color-blind readers, and the handling of axes and figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import anndata as ad
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MM: Final = 1 / 25.4  # a millimeter in inches
SINGLE: Final = 85 * MM  # width of one column of a journal
DOUBLE: Final = 180 * MM  # width of a page of a journal

PALETTE: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito (2008), in the order of the series."""
MARKERS: Final = "osD^vP*X<>"  # in the order of the series
MATCH: Final = "#0072B2"
MISMATCH: Final = "#D55E00"  # use another shape than for a match, too
BASELINE: Final = "#999999"
CHANCE: Final = "#D9D9D9"
SEQUENTIAL: Final = "cividis"  # ordered values
DIVERGING: Final = "RdBu_r"  # values around a center

_STYLE: Final[dict[Any, Any]] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # text stays text in a vector graphic
    "svg.fonttype": "none",
}


def style() -> AbstractContextManager[None]:
    """Style of the figures within a ``with`` block."""
    import matplotlib as mpl

    return mpl.rc_context(_STYLE)


def new_figure(width: float, height: float, **subplots: Any) -> tuple[Figure, Any]:
    """Create a figure with constrained layout, in inches; ``subplots`` go to :func:`matplotlib.pyplot.subplots`."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained", **subplots)


def get_axes(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """Return the given axes and their figure, or create them."""
    if ax is None:
        return new_figure(width, height)
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("ax does not belong to a figure; pass axes of matplotlib.pyplot.subplots.")
    return figure, ax


def get_panels(
    ax: Axes | None, size: tuple[float, float], n: int, *, below: bool = False, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """``n`` panels side by side (or ``below`` each other) in a new figure, or the axes of the caller for one."""
    if ax is None:
        rows, columns = (n, 1) if below else (1, n)
        figure, axes = new_figure(*size, nrows=rows, ncols=columns, squeeze=False, **subplots)
        return figure, list(axes.ravel())
    if n > 1:
        raise ValueError(f"ax= takes one panel, but there are {n}. Choose one, or leave ax out.")
    figure, ax = get_axes(ax, *size)
    return figure, [ax]


def finish(figure: Figure, axes: Any, *, own: bool, show: bool | None, return_fig: bool) -> Any:
    """Return the figure with ``return_fig``; else show it (by default if it is ``own``), or return its axes."""
    if return_fig:
        return figure
    if show if show is not None else own:
        import matplotlib.pyplot as plt

        plt.show()
        return None
    if isinstance(axes, list):
        import numpy as np

        return axes[0] if len(axes) == 1 else np.array(axes)
    return axes


def get_result(adata: ad.AnnData, key: str, *, made_by: str, needs: Iterable[str] = ()) -> Mapping[str, Any]:
    """Read the result of an analysis from ``uns``; ``KeyError`` names the function to call first."""
    found = adata.uns.get(key)
    if not isinstance(found, Mapping) or not set(needs) <= set(found):
        state = "does not exist" if found is None else f"is not a result of {made_by}"
        raise KeyError(
            f"adata.uns[{key!r}] {state}; its keys are: {', '.join(map(repr, adata.uns)) or 'none'}. "
            f"Call {made_by} first, or pass key=."
        )
    return found


def wrap(labels: Iterable[object], width: int = 32) -> list[str]:
    """Break labels into lines of at most ``width`` characters."""
    return [textwrap.fill(str(label), width, break_on_hyphens=True) or str(label) for label in labels]


def category_looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Color of each category, and a marker that differs between those of one color."""
    n = len(PALETTE)
    return {name: {"color": PALETTE[i % n], "marker": MARKERS[i // n % len(MARKERS)]} for i, name in enumerate(names)}

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

MM: Final = 1 / 25.4
"""A millimeter in inches."""

SINGLE: Final = 85 * MM
"""Width of one column of a journal."""

DOUBLE: Final = 180 * MM
"""Width of a page of a journal."""

PALETTE: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe and Ito (2008), in the order of the series."""

MARKERS: Final = "osD^vP*X<>"
"""Shapes, in the order of the series."""

MATCH: Final = "#0072B2"
"""Agreement. Next to :data:`MISMATCH`, use different shapes too."""

MISMATCH: Final = "#D55E00"
"""Disagreement."""

BASELINE: Final = "#999999"
"""A baseline."""

CHANCE: Final = "#D9D9D9"
"""Shuffled labels."""

SEQUENTIAL: Final = "cividis"
"""Color map of ordered values."""

DIVERGING: Final = "RdBu_r"
"""Color map of values around a center."""

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


def get_panels(ax: Axes | None, size: tuple[float, float], n: int) -> tuple[Figure, list[Axes]]:
    """``n`` panels side by side in a new figure, or the axes of the caller for one."""
    if ax is not None:
        if n > 1:
            raise ValueError(f"ax= takes one panel, but there are {n}. Choose one, or leave ax out.")
        figure, one = get_axes(ax, *size)
        return figure, [one]
    figure, axes = new_figure(*size, ncols=n, squeeze=False)
    return figure, list(axes[0])


def finish(figure: Figure, axes: Any, *, own: bool, show: bool | None, return_fig: bool) -> Any:
    """Show or return a figure.

    Parameters
    ----------
    figure, axes
        What was drawn.
    own
        Whether the figure was created here, not by the caller.
    show
        ``None`` shows an own figure only.
    return_fig
        Return the figure instead.

    Returns
    -------
    The figure with ``return_fig``, else the axes (an array of several) unless they were shown.
    """
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
    """Color of each category, and a marker that tells categories of one color apart."""
    n = len(PALETTE)
    return {name: {"color": PALETTE[i % n], "marker": MARKERS[i // n % len(MARKERS)]} for i, name in enumerate(names)}

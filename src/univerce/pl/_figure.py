"""What the figures share: paper sizes, a style, colors that color-blind readers tell apart, and how a figure ends."""

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
"""Okabe and Ito (2008), in the order in which series should take them."""

MATCH: Final = "#0072B2"
"""What agrees; drawn beside :data:`MISMATCH` they also need different shapes."""

MISMATCH: Final = "#D55E00"
"""What does not agree."""

BASELINE: Final = "#999999"
"""What a method is compared with."""

CHANCE: Final = "#D9D9D9"
"""What labels by chance would give."""

SEQUENTIAL: Final = "cividis"
"""Color map of ordered values."""

DIVERGING: Final = "RdBu_r"
"""Color map of values around a middle."""

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
    "pdf.fonttype": 42,  # letters stay letters in a vector graphic
    "svg.fonttype": "none",
}


def style() -> AbstractContextManager[None]:
    """The look of the figures, for the time of a ``with`` block: sizes of a printed page, text that stays text."""
    import matplotlib as mpl

    return mpl.rc_context(_STYLE)


def new_figure(width: float, height: float, **subplots: Any) -> tuple[Figure, Any]:
    """A figure of so many inches whose parts make room for each other's labels, and its axes.

    Parameters
    ----------
    width, height
        Inches.
    **subplots
        For :func:`matplotlib.pyplot.subplots`.
    """
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained", **subplots)


def get_axes(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The axes of the caller and their figure, or a new figure of one pair of axes."""
    if ax is None:
        return new_figure(width, height)
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("ax belongs to no figure; take one that matplotlib.pyplot.subplots returned.")
    return figure, ax


def finish(figure: Figure, axes: Any, *, own: bool, show: bool | None, return_fig: bool) -> Any:
    """Show the figure, or hand it on.

    Parameters
    ----------
    figure, axes
        What was drawn.
    own
        The figure was made here, not by the caller.
    show
        ``None`` shows a figure of ours, and leaves one of the caller's to the caller.
    return_fig
        Return the figure instead.

    Returns
    -------
    The figure with ``return_fig``, else the axes unless they were shown.
    """
    if return_fig:
        return figure
    if show if show is not None else own:
        import matplotlib.pyplot as plt

        plt.show()
        return None
    return axes


def get_result(adata: ad.AnnData, key: str, *, made_by: str, needs: Iterable[str] = ()) -> Mapping[str, Any]:
    """What an analysis wrote into ``uns``.

    Raises
    ------
    KeyError
        When it is not there, or something else is; the message names the function to call first.
    """
    found = adata.uns.get(key)
    if not isinstance(found, Mapping) or not set(needs) <= set(found):
        state = "does not exist" if found is None else f"is not what {made_by} writes"
        raise KeyError(
            f"adata.uns[{key!r}] {state}; its keys are: {', '.join(map(repr, adata.uns)) or 'none'}. "
            f"Call {made_by} first, or pass key=."
        )
    return found


def wrap(labels: Iterable[object], width: int = 32) -> list[str]:
    """Labels broken into lines of at most ``width`` characters; nothing of them is lost."""
    return [textwrap.fill(str(label), width, break_on_hyphens=True) or str(label) for label in labels]

"""Shared by all plots: paper sizes, a style, colors, and the handling of axes and figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, cast

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_hex
from matplotlib.figure import Figure

from univerce._validate import check_in_memory

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
    "figure.titlesize": 7,
    "figure.titleweight": "bold",
    "figure.dpi": 150,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # text stays text in a vector graphic
    "svg.fonttype": "none",
}


def style() -> AbstractContextManager[None]:
    """Style of the figures within a ``with`` block."""
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
    ax: Axes | None, size: tuple[float, float], n: int, *, columns: int = 3, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """``n`` panels in rows of ``columns`` in a new figure, or the axes of the caller for one."""
    if ax is None:
        columns = min(n, columns)
        figure, axes = new_figure(*size, nrows=-(-n // columns), ncols=columns, squeeze=False, **subplots)
        for unused in axes.ravel()[n:]:
            unused.remove()
        return figure, list(axes.ravel()[:n])
    if n > 1:
        raise ValueError(f"ax= takes one panel, but there are {n}. Choose one, or leave ax out.")
    figure, ax = get_axes(ax, *size)
    return figure, [ax]


def finish(figure: Figure, axes: Any, *, own: bool, title: str | None, show: bool | None, return_fig: bool) -> Any:
    """Return the figure with ``return_fig``; else show it (by default if it is ``own``), or return its axes.

    The title stands above all panels and legends of a figure that is ``own``, or above the axes of the caller.
    """
    if title is not None and own:
        figure.suptitle(title)
    elif title is not None:
        legend = axes.get_legend()  # above the axes
        height = 0 if legend is None else legend.get_window_extent().height * 72 / figure.dpi
        axes.set_title(title, pad=6 + height)
    if return_fig:
        return figure
    if show if show is not None else own:
        import matplotlib.pyplot as plt

        plt.show()
        return None
    if isinstance(axes, list):
        return axes[0] if len(axes) == 1 else np.array(axes)
    return axes


def get_result(
    adata: ad.AnnData, key: str, *, made_by: str, needs: Iterable[str], returned: bool = False
) -> Mapping[str, Any]:
    """Read the result of an analysis from ``uns``; ``KeyError`` names its other results, or the function to call.

    ``needs`` are parts that together only this analysis writes; ``"table.share"`` is a column of ``"table"``. With
    ``returned`` the result is in a new AnnData.
    """
    check_in_memory(adata)
    if not isinstance(adata, ad.AnnData):
        modalities = getattr(adata, "mod", ())  # a method of a DataFrame
        fix = " or ".join(f"mdata[{name!r}]" for name in modalities) if isinstance(modalities, Mapping) else ""
        raise TypeError(f"An AnnData is needed, not {type(adata).__name__}" + (f"; pass {fix}." if fix else "."))
    if _has(adata.uns.get(key), needs):
        return cast("Mapping[str, Any]", adata.uns[key])
    state = f"is not a result of {made_by}" if key in adata.uns else "does not exist"
    others = [f"key={name!r}" for name, value in adata.uns.items() if _has(value, needs)]
    fix = f"Pass {' or '.join(others)}, written by {made_by}" if others else f"Call {made_by} first"
    raise KeyError(f"adata.uns[{key!r}] {state}. {fix}{', and plot the AnnData that it returns' if returned else ''}.")


def _has(found: Any, needs: Iterable[str]) -> bool:
    """Whether a result has all parts; a part of a mapping or column of a table follows a dot."""
    for path in needs:
        part = found
        for name in path.split("."):
            if not hasattr(part, "keys") or name not in part:
                return False
            part = part[name]
    return True


def wrap(labels: Iterable[object], width: int = 32) -> list[str]:
    """Break labels into lines of at most ``width`` characters."""
    return [textwrap.fill(str(label), width, break_on_hyphens=True) or str(label) for label in labels]


def category_colors(
    names: Sequence[str], palette: str | Sequence[str] | Mapping[str, str] | None = None
) -> dict[str, str]:
    """Color of each category: those of scanpy by default, or of a palette that scanpy takes.

    ``palette`` is the name of a color map, colors in the order of the categories, or a mapping from them.
    """
    import scanpy as sc

    n = len(names)
    if isinstance(palette, Mapping):
        if missing := [name for name in names if name not in palette]:
            raise ValueError(f"palette has no color for {missing[0]!r}; its names are {', '.join(map(repr, palette))}.")
        colors: Sequence[Any] = [palette[name] for name in names]
    elif isinstance(palette, str):
        if palette not in mpl.colormaps:
            raise ValueError(f"palette={palette!r} is not a color map of matplotlib, such as 'tab20' or 'viridis'.")
        colors = [mpl.colormaps[palette](i / max(n - 1, 1)) for i in range(n)]
    elif palette is None:  # as scanpy chooses
        cycle = mpl.rcParams["axes.prop_cycle"].by_key().get("color", [])
        known = (cycle, sc.pl.palettes.default_20, sc.pl.palettes.default_28, sc.pl.palettes.default_102)
        colors = next((colors for colors in known if len(colors) >= n), ["grey"])
    else:
        colors = list(palette) or ["grey"]
    return {name: to_hex(colors[i % len(colors)]) for i, name in enumerate(names)}


def column_colors(
    adata: ad.AnnData, column: str, values: pd.Categorical, palette: str | Sequence[str] | Mapping[str, str] | None
) -> dict[str, str]:
    """Color of each category of a column of ``obs``: of ``palette``, else of ``uns["{column}_colors"]``."""
    names = list(map(str, values.categories))
    stated = list(map(str, adata.uns.get(f"{column}_colors", ())))
    colors = category_colors(names, stated if palette is None and len(stated) >= len(names) else palette)
    return {name: colors[name] for name in map(str, values.remove_unused_categories().categories)}


def text_color(background: Sequence[float]) -> str:
    """Black or white, whichever is legible on a color."""
    red, green, blue = background[:3]
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"


def get_cmap(cmap: str | Colormap | None, default: str) -> Colormap:
    """Color map of a name, or the default; ``ValueError`` for an unknown name."""
    return mpl.colormaps.get_cmap(default if cmap is None else cmap)

"""Plot several embeddings side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from univerce._docs import document
from univerce._validate import check_in_memory
from univerce.pl._figure import DOUBLE, MM, SEQUENTIAL, SINGLE, column_colors, finish, get_cmap, style, wrap
from univerce.pl._parts import mark, shorten

_SIDE, _WRAP = 42 * MM, 26  # width of a legend at the side, and characters of its lines
_LINE, _CHARACTER, _HANDLE = 2.8 * MM, 1.02 * MM, 5 * MM  # of a legend
_TITLE = 1.45 * MM  # width of a character of a title
_TITLES, _SHORTEST = 6 * MM, 24  # height of the title of a legend, and least characters of its entries
_TALLEST, _LOW = 235 * MM, 35 * MM  # all panels with their legends, and the least height of a panel above a long legend
_MISSING = "lightgray"  # as in scanpy


@document
def embedding_grid(
    adata: ad.AnnData,
    bases: Mapping[str, str] | Sequence[str],
    color: Sequence[str],
    *,
    size: float = 3,
    palette: str | Sequence[str] | Mapping[str, str] | None = None,
    cmap: str | Colormap | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | np.ndarray | None:
    """Plot two-dimensional embeddings in columns, colored by columns of ``obs`` in rows.

    Categories have the colors of scanpy. Their legend is at the side, or below if it is long. To fit
    a page, panels become smaller, names are shortened, and the last of too many names are counted.

    Parameters
    ----------
    %(adata)s
    bases
        Keys in ``obsm`` with two columns each, or a mapping from titles to keys.
    color
        Columns of ``obs``; numbers are drawn with a color bar. Cells without a value are light gray.
    size
        Size of a cell in square points.
    %(palette, cmap, title, figsize, show, return_fig)s

    Returns
    -------
    The axes ``[n_colors, n_bases]``, or the figure with ``return_fig``; ``None`` if the figure was shown.

    Raises
    ------
    KeyError
        If an embedding or a column does not exist.
    ValueError
        If an embedding does not have two columns, ``bases`` or ``color`` is empty, or ``palette`` lacks a category.

    Examples
    --------
    >>> import scanpy as sc
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> adata.obsm["UCE"] = sc.pp.pca(adata.obsm["X_uce"], n_comps=2)
    >>> adata.obsm["expression"] = sc.pp.pca(sc.pp.log1p(adata.X.astype("float32")), n_comps=2)
    >>> axes = uc.pl.embedding_grid(adata, ["UCE", "expression"], ["cell_type", "S_score"], show=False)
    >>> axes.shape
    (2, 2)
    """
    check_in_memory(adata)
    titles = dict(bases) if isinstance(bases, Mapping) else {key: key for key in bases}
    columns = [color] if isinstance(color, str) else list(color)
    if not titles or not columns:
        raise ValueError("Pass at least one embedding in bases and one column of obs in color.")
    for key in titles.values():
        if key not in adata.obsm:
            raise KeyError(
                f"obsm[{key!r}] does not exist; its keys are: {', '.join(map(repr, adata.obsm)) or 'none'}. "
                "Compute two columns first, for example with sc.tl.umap(adata)."
            )
        if adata.obsm[key].shape[1] != 2:
            raise ValueError(f"obsm[{key!r}] has {adata.obsm[key].shape[1]} columns; two are needed.")
    for column in columns:
        if column not in adata.obs:
            raise KeyError(
                f"obs[{column!r}] does not exist; its columns are: {', '.join(map(repr, adata.obs.columns))}."
            )
    order = np.random.default_rng(0).permutation(adata.n_obs)  # no category is drawn on top of the others
    colored = [_colored(adata, column, palette) for column in columns]
    with style():
        figure, axes, legends, width = _layout(colored, len(titles), figsize)
        for row, legend, column, (colors, values) in zip(axes, legends, columns, colored, strict=True):
            look: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
            if colors is None:
                look |= {"cmap": get_cmap(cmap, SEQUENTIAL).with_extremes(bad=_MISSING), "plotnonfinite": True}
            for ax, key in zip(row, titles.values(), strict=True):
                image = ax.scatter(*np.asarray(adata.obsm[key])[order].T, c=values[order], **look)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
            legend.draw(image, colors, column)
        for ax, name in zip(axes[0], titles, strict=True):
            ax.set_title(wrap([name], int(width / len(titles) / _TITLE))[0])
        return finish(figure, axes, own=True, title=title, show=show, return_fig=return_fig)


def _colored(
    adata: ad.AnnData, column: str, palette: str | Sequence[str] | Mapping[str, str] | None
) -> tuple[dict[str, str] | None, np.ndarray]:
    """Color of each category, ``None`` for numbers, and the colors or numbers of the cells."""
    values = adata.obs[column]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(float, na_value=np.nan)
        return None, np.where(np.isfinite(numbers), numbers, np.nan)
    codes = pd.Categorical(values)
    colors = column_colors(adata, column, codes, palette) | ({"NA": _MISSING} if values.isna().any() else {})
    return colors, values.astype(object).where(values.notna(), "NA").map(lambda name: colors[str(name)]).to_numpy()


class _Legend(NamedTuple):
    """Place of a legend or color bar, and the entries of the legend."""

    ax: Axes
    below: bool
    entries: list[str]
    columns: int

    def draw(self, image: Any, colors: dict[str, str] | None, column: str) -> None:
        """Draw the legend of a column of ``obs``."""
        self.ax.set(xticks=[], yticks=[])
        self.ax.set_axis_off()
        if colors is None:
            place = (0.3, 0.45, 0.4, 0.25) if self.below else (0.0, 0.15, 0.06, 0.7)
            where = "horizontal" if self.below else "vertical"
            bar = self.ax.figure.colorbar(image, cax=self.ax.inset_axes(place), orientation=where)
            bar.set_label(column)
            bar.outline.set_visible(False)
            return
        shown = list(colors.values())[: len(self.entries)]
        if len(shown) < len(colors):  # the last entry counts the others
            shown[-1] = "none"
        handles = [
            mark(name, marker="o", markersize=3.5, color=color) for name, color in zip(self.entries, shown, strict=True)
        ]
        legend = self.ax.legend(
            handles=handles, title=column, ncols=self.columns, loc="upper left" if self.below else "center left",
            bbox_to_anchor=(0, 1) if self.below else (0, 0.5), borderaxespad=0, fontsize=5.5, title_fontsize=6,
            alignment="left", handletextpad=0.1, columnspacing=0.8, labelspacing=0.3,
        )  # fmt: skip
        legend.set_in_layout(False)  # its space is reserved


def _fit_legend(names: Sequence[str], width: float, height: float) -> tuple[list[str], int]:
    """Entries and columns of a legend below the panels: names are shortened, and the last left out, if too many."""
    usual = max(1, int(width / (_HANDLE + _CHARACTER * max(map(len, names), default=1))))
    most = max(usual, int(width / (_HANDLE + _CHARACTER * _SHORTEST)))
    n_lines = max(3, int((height - _TITLES) / _LINE))
    columns = next((k for k in range(usual, most) if -(-len(names) // k) <= n_lines), most)
    shown = list(names[: columns * n_lines])
    if len(shown) < len(names):
        shown[-1] = f"and {len(names) - len(shown) + 1} more"
    return [shorten(name, int((width / columns - _HANDLE) / _CHARACTER) - 2) for name in shown], columns


def _layout(
    colored: Sequence[tuple[dict[str, str] | None, np.ndarray]], n: int, figsize: tuple[float, float] | None
) -> tuple[Figure, np.ndarray, list[_Legend], float]:
    """Create the panels of ``n`` embeddings with the place of each legend; also the width of all panels."""
    import matplotlib.pyplot as plt

    lists = [list(colors or ()) for colors, _ in colored]
    n_rows, panel = len(lists), min((DOUBLE - _SIDE) / n, 50 * MM)
    tallest = max(sum(text.count("\n") + 1 for text in wrap(names, _WRAP)) for names in lists) * _LINE + 3 * MM
    below = tallest > max(panel, 45 * MM)
    if below:
        for widest in (SINGLE, DOUBLE):  # wider, if names were left out
            width = min(DOUBLE, n * widest)
            height = min(width / n, 70 * MM)
            entries = [_fit_legend(names, width, _TALLEST / n_rows - min(height, _LOW)) for names in lists]
            if [len(shown) for shown, _ in entries] == [len(names) for names in lists]:
                break
        needed = [_LINE * -(-max(len(names), 3) // k) + _TITLES for names, k in entries]
        height = max(min(height, (_TALLEST - sum(needed)) / n_rows), 15 * MM)
        total, heights = (width, n_rows * height + sum(needed)), [x for k in needed for x in (height, k)]
        grid: dict[str, Any] = {"height_ratios": heights}
    else:
        width, height = n * panel, max(min(panel, _TALLEST / n_rows), tallest)
        entries = [(wrap(names, _WRAP), 1) for names in lists]
        total, grid = (width + _SIDE, n_rows * height), {"width_ratios": [panel] * n + [_SIDE]}
    figure = plt.figure(figsize=figsize or (total[0], total[1] + 5 * MM), layout="constrained")
    places = figure.add_gridspec(n_rows * (1 + below), n + (not below), **grid)
    axes = np.array([[figure.add_subplot(places[i * (1 + below), j]) for j in range(n)] for i in range(n_rows)])
    sides = [figure.add_subplot(places[2 * i + 1, :] if below else places[i, n]) for i in range(n_rows)]
    legends = [_Legend(ax, below, *each) for ax, each in zip(sides, entries, strict=True)]
    return figure, axes, legends, width

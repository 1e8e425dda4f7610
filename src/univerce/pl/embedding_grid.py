"""Plot several embeddings side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._validate import check_in_memory
from univerce.pl._figure import DOUBLE, MM, SEQUENTIAL, SINGLE, column_colors, finish, get_cmap, style, wrap
from univerce.pl._parts import mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

_SIDE, _WRAP = 42 * MM, 26  # width of a legend at the side, and characters of its lines
_LINE, _CHARACTER, _HANDLE = 2.8 * MM, 1.02 * MM, 5 * MM  # of a legend
_TITLE = 1.45 * MM  # width of a character of a title
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

    Categories have the colors of scanpy. Their legend is at the side, or below if it is long.

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
            raise KeyError(f"obsm[{key!r}] does not exist; its keys are: {', '.join(map(repr, adata.obsm)) or 'none'}.")
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
    """Place of a legend or color bar."""

    ax: Axes
    below: bool
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
        names = colors if self.below else wrap(colors, _WRAP)
        handles = [
            mark(name, marker="o", markersize=3.5, color=color)
            for name, color in zip(names, colors.values(), strict=True)
        ]
        legend = self.ax.legend(
            handles=handles, title=column, ncols=self.columns, loc="upper left" if self.below else "center left",
            bbox_to_anchor=(0, 1) if self.below else (0, 0.5), borderaxespad=0, fontsize=5.5, title_fontsize=6,
            alignment="left", handletextpad=0.1, columnspacing=0.8, labelspacing=0.3,
        )  # fmt: skip
        legend.set_in_layout(False)  # its space is reserved


def _layout(
    colored: Sequence[tuple[dict[str, str] | None, np.ndarray]], n: int, figsize: tuple[float, float] | None
) -> tuple[Figure, np.ndarray, list[_Legend], float]:
    """Create the panels of ``n`` embeddings with the place of each legend; also the width of all panels."""
    import matplotlib.pyplot as plt

    lists = [list(colors or ()) for colors, _ in colored]
    panel = min((DOUBLE - _SIDE) / n, 50 * MM)
    tallest = max(sum(text.count("\n") + 1 for text in wrap(names, _WRAP)) for names in lists) * _LINE + 3 * MM
    below = tallest > max(panel, 45 * MM)
    if below:
        panel = min(DOUBLE / n, SINGLE)
        width, height = n * panel, min(panel, 70 * MM)
        per_row = [max(1, int(width / (_HANDLE + _CHARACTER * max(map(len, names), default=1)))) for names in lists]
        needed = [_LINE * -(-max(len(names), 3) // k) + 6 * MM for names, k in zip(lists, per_row, strict=True)]
        total, heights = (width, len(lists) * height + sum(needed)), [x for k in needed for x in (height, k)]
        grid: dict[str, Any] = {"height_ratios": heights}
    else:
        width, height, per_row = n * panel, max(panel, tallest), [1] * len(lists)
        total, grid = (width + _SIDE, len(lists) * height), {"width_ratios": [panel] * n + [_SIDE]}
    figure = plt.figure(figsize=figsize or (total[0], total[1] + 5 * MM), layout="constrained")
    places = figure.add_gridspec(len(lists) * (1 + below), n + (not below), **grid)
    axes = np.array([[figure.add_subplot(places[i * (1 + below), j]) for j in range(n)] for i in range(len(lists))])
    sides = [figure.add_subplot(places[2 * i + 1, :] if below else places[i, n]) for i in range(len(lists))]
    return figure, axes, [_Legend(ax, below, k) for ax, k in zip(sides, per_row, strict=True)], width

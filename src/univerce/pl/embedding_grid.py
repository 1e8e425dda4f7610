"""Draw several embeddings beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce.pl._figure import BASELINE, DOUBLE, MM, PALETTE, finish, new_figure, style, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP*X<>"
_LEGEND = 42 * MM
_LEAST = 42 * MM  # height that a legend of 14 lines takes


def embedding_grid(
    adata: ad.AnnData,
    bases: Mapping[str, str] | Sequence[str],
    color: Sequence[str],
    *,
    size: float = 3,
    figsize: tuple[float, float] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | np.ndarray | None:
    """Draw two-dimensional embeddings in columns and their cells by columns of ``obs`` in rows, such as type and batch.

    Colors are those of ``uns[f"{color}_colors"]`` when there are any; categories that share a color have different
    markers.

    Parameters
    ----------
    adata
        The cells.
    bases
        Keys of two columns each in ``obsm``, or titles and keys.
    color
        Columns of ``obs``.
    size
        Of a cell, square points.
    figsize
        Inches; ``None`` is as wide as a page.
    show
        Show the figure; ``None`` does.
    return_fig
        Return the figure.

    Returns
    -------
    ``None`` when the figure was shown, else the axes ``[n_colors, n_bases]``, or the figure with ``return_fig``.

    Raises
    ------
    KeyError
        When an embedding or a column does not exist.
    ValueError
        When an embedding has not two columns, or nothing is named.

    Examples
    --------
    >>> import scanpy as sc
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obsm["X_flat"] = sc.pp.pca(adata.X.astype("float32"), n_comps=2)
    >>> axes = uc.pl.embedding_grid(adata, {"PCA": "X_flat"}, ["cell_type", "phase"], show=False)
    >>> axes.shape
    (2, 1)
    """
    named = dict(bases) if isinstance(bases, Mapping) else {key: key for key in bases}
    color = [color] if isinstance(color, str) else list(color)
    if not named or not color:
        raise ValueError("Name at least one embedding in bases and one column of obs in color.")
    for key in named.values():
        if key not in adata.obsm:
            raise KeyError(f"obsm[{key!r}] does not exist; its keys are: {', '.join(map(repr, adata.obsm)) or 'none'}.")
        if adata.obsm[key].shape[1] != 2:
            raise ValueError(f"obsm[{key!r}] has {adata.obsm[key].shape[1]} columns; two can be drawn.")
    for column in color:
        if column not in adata.obs:
            raise KeyError(
                f"obs[{column!r}] does not exist; its columns are: {', '.join(map(repr, adata.obs.columns))}."
            )
    order = np.random.default_rng(0).permutation(adata.n_obs)  # no category lies on top of the others
    with style():
        panel = min((DOUBLE - _LEGEND) / len(named), 50 * MM)
        shape = figsize or (panel * len(named) + _LEGEND, len(color) * max(panel, _LEAST) + 5 * MM)
        figure, axes = new_figure(*shape, nrows=len(color), ncols=len(named), squeeze=False)
        for row, column in zip(axes, color, strict=True):
            looks = _looks(adata, column)
            values = adata.obs[column].astype(str).to_numpy()[order]
            for ax, key in zip(row, named.values(), strict=True):
                points = np.asarray(adata.obsm[key])[order]
                for name, (color, marker) in looks.items():
                    inside = values == name
                    ax.scatter(*points[inside].T, s=size, color=color, marker=marker, linewidths=0, rasterized=True)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
            _legend(row[-1], column, looks)
        for ax, title in zip(axes[0], named, strict=True):
            ax.set_title(wrap([title], 18)[0])
        return finish(figure, axes, own=True, show=show, return_fig=return_fig)


def _looks(adata: ad.AnnData, column: str) -> dict[str, tuple[str, str]]:
    """Color and marker of each category."""
    values = adata.obs[column]
    categories = pd.Categorical(values).remove_unused_categories().categories
    stated = list(adata.uns.get(f"{column}_colors", []))
    own = isinstance(values.dtype, pd.CategoricalDtype) and len(stated) == len(values.cat.categories)
    colors = dict(zip(values.cat.categories, stated, strict=True)) if own else {}
    looks = {
        str(name): (str(colors.get(name, PALETTE[i % len(PALETTE)])), _MARKERS[i // len(PALETTE) % len(_MARKERS)])
        for i, name in enumerate(categories)
    }
    return looks | ({"nan": (BASELINE, ".")} if values.isna().any() else {})


def _legend(ax: Axes, column: str, looks: dict[str, tuple[str, str]]) -> None:
    """Right of the last panel of a row, in as many columns as keep it as low as the panel."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker=m, color=c, linestyle="", markersize=3.5, label=wrap([name], 26)[0])
        for name, (c, m) in looks.items()
    ]
    ax.legend(
        handles=handles, title=column, ncols=-(-len(looks) // 14), loc="center left", bbox_to_anchor=(1.02, 0.5),
        borderaxespad=0, fontsize=5.5, title_fontsize=6, alignment="left", handletextpad=0.1, columnspacing=0.8,
    )  # fmt: skip

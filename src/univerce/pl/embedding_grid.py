"""Plot several embeddings side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce.pl._figure import BASELINE, DOUBLE, MM, category_looks, finish, new_figure, style, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEGEND = 42 * MM
_LEAST, _LINES = 42 * MM, 14  # height of a legend with so many lines
_CHARACTER = 1.45 * MM  # width of a character of a title


@document
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
    """Plot two-dimensional embeddings in columns, colored by columns of ``obs`` in rows.

    Colors are those of ``uns[f"{color}_colors"]``, if any. Categories of one default color have different markers.

    Parameters
    ----------
    %(adata)s
    bases
        Keys in ``obsm`` with two columns each, or a mapping from titles to keys.
    color
        Columns of ``obs``.
    size
        Size of a cell in square points.
    %(figsize, show, return_fig)s

    Returns
    -------
    The axes ``[n_colors, n_bases]``, or the figure with ``return_fig``; ``None`` if the figure was shown.

    Raises
    ------
    KeyError
        If an embedding or a column does not exist.
    ValueError
        If an embedding does not have two columns, or ``bases`` or ``color`` is empty.

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
    with style():
        panel = min((DOUBLE - _LEGEND) / len(titles), 50 * MM)
        shape = figsize or (panel * len(titles) + _LEGEND, len(columns) * max(panel, _LEAST) + 5 * MM)
        figure, axes = new_figure(*shape, nrows=len(columns), ncols=len(titles), squeeze=False)
        for row, column in zip(axes, columns, strict=True):
            looks = _looks(adata, column)
            values = adata.obs[column].astype(str).to_numpy()[order]
            for ax, key in zip(row, titles.values(), strict=True):
                points = np.asarray(adata.obsm[key])[order]
                for name, look in looks.items():
                    ax.scatter(*points[values == name].T, s=size, linewidths=0, rasterized=True, **look)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
            _draw_legend(row[-1], column, looks)
        for ax, title in zip(axes[0], titles, strict=True):
            ax.set_title(wrap([title], int((shape[0] - _LEGEND) / len(titles) / _CHARACTER))[0])
        return finish(figure, axes, own=True, show=show, return_fig=return_fig)


def _looks(adata: ad.AnnData, column: str) -> dict[str, dict[str, Any]]:
    """Color and marker of each category."""
    values = adata.obs[column]
    looks = category_looks(map(str, pd.Categorical(values).remove_unused_categories().categories))
    stated = list(adata.uns.get(f"{column}_colors", []))
    if isinstance(values.dtype, pd.CategoricalDtype) and len(stated) == len(values.cat.categories):
        for name, color in zip(map(str, values.cat.categories), stated, strict=True):
            if name in looks:
                looks[name]["color"] = str(color)
    return looks | ({"nan": {"color": BASELINE, "marker": "."}} if values.isna().any() else {})


def _draw_legend(ax: Axes, column: str, looks: dict[str, dict[str, Any]]) -> None:
    """Draw the legend to the right of a row, in columns that fit the height of the panel."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", markersize=3.5, label=wrap([name], 26)[0], **look) for name, look in looks.items()
    ]
    ax.legend(
        handles=handles, title=column, ncols=-(-len(looks) // _LINES), loc="center left", bbox_to_anchor=(1.02, 0.5),
        borderaxespad=0, fontsize=5.5, title_fontsize=6, alignment="left", handletextpad=0.1, columnspacing=0.8,
    )  # fmt: skip

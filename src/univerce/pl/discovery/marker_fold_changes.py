"""Draw the genes that tell found cells from the others, data set by data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce.pl._figure import CHANCE, DIVERGING, DOUBLE, MM, SINGLE, finish, get_axes, get_result, style, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = 4.2 * MM
_LEFT = 55 * MM
_AROUND = 32 * MM


def marker_fold_changes(
    adata: ad.AnnData,
    key: str = "marker_fold_changes",
    *,
    limit: float | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Draw a heat map of log2 fold changes of found cells against the rest, data sets in rows and genes in columns.

    A dot marks an adjusted p-value below 0.05. The number beside a data set counts its found cells, and with donors
    the donors that were compared. Data sets that were not compared are gray, and say why.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.tl.marker_fold_changes`.
    key
        Its ``key_added``.
    limit
        Fold change at the ends of the colors; ``None`` takes the 98th percentile of the absolute values. The triangles
        at the color bar say that there are values beyond.
    figsize
        Inches; ``None`` makes room for every gene and data set.
    ax
        Draw into these axes.
    show
        Show the figure; ``None`` shows it unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    ``None`` when the figure was shown, else the axes, or the figure with ``return_fig``.

    Raises
    ------
    KeyError
        When the results are not in ``uns``.
    ValueError
        When ``limit`` is not above zero.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["found"] = adata.obs["cell_type"] == "CD19+ B"
    >>> _ = uc.tl.marker_fold_changes(adata, groupby="phase", min_cells=5)
    >>> uc.pl.marker_fold_changes(adata, show=False)
    <Axes: ...>
    """
    found = get_result(
        adata, key, made_by="uc.tl.marker_fold_changes", needs=("data_sets", "log2_fold_change", "p_adjusted")
    )
    table, adjusted, data_sets = found["log2_fold_change"], found["p_adjusted"], found["data_sets"]
    values = table.to_numpy(float)
    finite = np.abs(values[np.isfinite(values)])
    if limit is None:
        limit = float(np.quantile(finite, 0.98)) if finite.size and finite.any() else 1.0
    if not limit > 0:
        raise ValueError(f"limit={limit!r} must lie above 0.")
    n_sets, n_genes = values.shape
    with style():
        import matplotlib as mpl

        own = ax is None
        size = (min(max(SINGLE, n_genes * _CELL + _LEFT), 2 * DOUBLE), n_sets * _CELL * 1.3 + _AROUND)
        figure, ax = get_axes(ax, *(figsize or size))
        colors = mpl.colormaps[DIVERGING].with_extremes(bad=CHANCE)
        image = ax.imshow(
            np.ma.masked_invalid(values), cmap=colors, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
        )
        row, column = np.nonzero(adjusted.to_numpy(float) < 0.05)
        dark = np.abs(values[row, column]) > 0.6 * limit
        ax.scatter(column, row, s=4, c=np.where(dark, "white", "black"), linewidths=0)
        for i, status in enumerate(data_sets["status"].astype(str)):
            if status != "ok":
                ax.text((n_genes - 1) / 2, i, status, ha="center", va="center", size=6, color="#333333")
        ax.set_xticks(range(n_genes), table.columns, rotation=90, fontstyle="italic")
        ax.set_yticks(range(n_sets), wrap(_names(data_sets)))
        ax.tick_params(length=0)
        ax.set_xticks(np.arange(n_genes + 1) - 0.5, minor=True)
        ax.set_yticks(np.arange(n_sets + 1) - 0.5, minor=True)
        ax.grid(which="minor", color="white", linewidth=0.5)
        ax.tick_params(which="minor", length=0)
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=ax, extend=_extend(finite, values, limit), fraction=0.05, pad=0.02, aspect=12)
        bar.set_label("log2 fold change\nof found cells")
        bar.outline.set_visible(False)
        return finish(figure, ax, own=own, show=show, return_fig=return_fig)


def _names(data_sets: pd.DataFrame) -> list[str]:
    """A data set, its found cells and, when there are donors, how many were compared."""
    return [
        f"{name} ({int(n):,}{f', {int(donors)} donors' if donors else ''})"
        for name, n, donors in zip(data_sets.index, data_sets["n_found"], data_sets["n_donors"], strict=True)
    ]


def _extend(finite: np.ndarray, values: np.ndarray, limit: float) -> str:
    if not finite.size:
        return "neither"
    above, below = np.nanmax(values) > limit, np.nanmin(values) < -limit
    return "both" if above and below else "max" if above else "min" if below else "neither"

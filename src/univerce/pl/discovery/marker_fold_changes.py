"""Plot fold changes of found cells, data set by data set."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from univerce._docs import document
from univerce._validate import check_whole
from univerce.pl._figure import CHANCE, DIVERGING, MM, finish, get_axes, get_cmap, get_result, style
from univerce.pl._parts import add_colorbar, add_legend, fit_grid, mark, set_columns, set_rows

_CELL = 4.2 * MM
_SIGNIFICANT = 0.05


@document
def marker_fold_changes(
    adata: ad.AnnData,
    key: str = "marker_fold_changes",
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 30,
    limit: float | None = None,
    cmap: str | Colormap | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot a heat map of log2 fold changes of found cells against the rest, data sets in rows and genes in columns.

    A dot marks an adjusted p-value below 0.05; data sets without donors have none, because they are not tested. Numbers
    count the found cells of a data set and, with donors, the compared donors. Genes with too few counts in a data set
    are gray, as are data sets that were not compared, which state why.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.marker_fold_changes`.
    %(key)s
    genes
        Genes to plot; ``None`` takes those that are higher in the found cells of most data sets (adjusted p-value below
        0.05, then the sum of the fold changes).
    n_genes
        Number of genes that are chosen if ``genes`` is ``None``.
    limit
        Fold change at the ends of the colors; ``None`` is the 98th percentile of the absolute values. Triangles at the
        color bar mark values beyond.
    %(cmap, title, figsize, ax, show, return_fig, drawn)s
        Also if a gene was not compared.
    ValueError
        If ``limit`` is not above zero or ``n_genes`` below 1.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["found"] = adata.obs["cell_type"] == "CD19+ B"
    >>> _ = uc.tl.marker_fold_changes(adata, groupby="phase", min_cells=5)
    >>> uc.pl.marker_fold_changes(adata, show=False)
    <Axes: ...>
    """
    result = get_result(adata, key, made_by="uc.tl.marker_fold_changes", needs=("data_sets", "table"))
    check_whole("n_genes", n_genes, 1)
    table, data_sets = result["table"], result["data_sets"]
    wide = table.pivot(index="data_set", columns="gene", values=["log2_fold_change", "p_adjusted"])
    wide = wide.reindex(data_sets.index)
    chosen = _choose(table, n_genes) if genes is None else list(genes)
    if unknown := [gene for gene in chosen if gene not in wide["log2_fold_change"]]:
        raise KeyError(f"{len(unknown)} genes were not compared: {', '.join(map(repr, unknown[:10]))}.")
    values, adjusted = (wide[name][chosen].to_numpy(float) for name in ("log2_fold_change", "p_adjusted"))
    finite = np.abs(values[np.isfinite(values)])
    if limit is None:
        limit = float(np.quantile(finite, 0.98)) if finite.any() else 1.0
    if not limit > 0:
        raise ValueError(f"limit={limit!r} must be above 0.")
    n_sets, n_columns = values.shape
    with style():
        grid = fit_grid(_names(data_sets), chosen, cell=_CELL)
        figure, axes = get_axes(ax, *(figsize or grid.size(above=10 * MM)))
        colors = get_cmap(cmap, DIVERGING).with_extremes(bad=CHANCE)
        image = axes.imshow(
            np.ma.masked_invalid(values), cmap=colors, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
        )
        row, column = np.nonzero(adjusted < _SIGNIFICANT)
        dark = np.abs(values[row, column]) > 0.6 * limit
        axes.scatter(column, row, s=min(4, grid.columns.pitch / MM), c=np.where(dark, "white", "black"), linewidths=0)
        for i, status in enumerate(data_sets["status"].astype(str)):
            if status != "ok":
                axes.text(
                    (n_columns - 1) / 2, i, status, ha="center", va="center", size=grid.rows.size, color="#333333"
                )
        set_rows(axes, grid.rows)
        set_columns(axes, grid.columns, italic=True)
        axes.set_ylim(n_sets - 0.5, -0.5)
        axes.set_xticks(np.arange(n_columns + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(n_sets + 1) - 0.5, minor=True)
        axes.tick_params(which="both", length=0)
        axes.grid(which="minor", color="white", linewidth=0.5)
        axes.spines[:].set_visible(False)
        _add_legend(axes, dots=len(row) > 0, gray=not np.isfinite(values).all())
        beyond = np.nanmin(values, initial=0) < -limit, np.nanmax(values, initial=0) > limit
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
        add_colorbar(axes, image, "log2 fold change\nof found cells", grid, extend=extend)
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)


def _add_legend(ax: Axes, *, dots: bool, gray: bool) -> None:
    """Say what dots and gray cells are, if there are any."""
    handles = [mark("adjusted p-value below 0.05", marker="o", markersize=2, color="black")] if dots else []
    handles += [mark("too few counts", marker="s", markersize=5, color=CHANCE)] if gray else []
    if handles:
        add_legend(ax, handles=handles, handletextpad=0.2)


def _choose(table: pd.DataFrame, n: int) -> list[str]:
    """Genes that are higher in the found cells of most data sets."""
    change = table["log2_fold_change"]
    up = (table["p_adjusted"] < _SIGNIFICANT) & (change > 0)
    by_gene = pd.DataFrame({"gene": table["gene"].astype(str), "n": up, "change": change}).groupby("gene")
    ranked = by_gene.agg(n=("n", "sum"), change=("change", "sum"))
    return ranked.sort_values(["n", "change"], ascending=False, kind="stable").index[:n].tolist()


def _names(data_sets: pd.DataFrame) -> list[str]:
    """Each data set with its number of found cells and of compared donors, if any."""
    return [
        f"{name} ({int(n):,}{f', {int(donors)} donors' if donors else ''})"
        for name, n, donors in zip(data_sets.index, data_sets["n_found"], data_sets["n_donors"], strict=True)
    ]

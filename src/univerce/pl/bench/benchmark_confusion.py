"""Plot the confusion matrix of a method."""

from __future__ import annotations

import anndata as ad
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import MM, SEQUENTIAL, finish, get_axes, get_cmap, get_result, style, text_color, wrap
from univerce.pl._parts import add_colorbar, fit_grid, set_columns, set_rows

_CELL, _NARROW = 5 * MM, 3.5 * MM  # numbers do not fit narrow cells
_TITLE = 1.45 * MM  # width of a character of the title


@document
def benchmark_confusion(
    adata: ad.AnnData,
    method: str,
    *,
    key: str = "benchmark",
    cmap: str | Colormap | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the labels that logistic regression predicts in a held-out batch or a query.

    Each row is a type and sums to 1 over all seeds, with the number of cells at the right.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.bench.run`, or the query after :func:`univerce.bench.run_transfer`.
    method
        Name of the method, as in the scores.
    %(cmap, figure, drawn)s
    ValueError
        If the method has no labels across batches.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> query, reference = adata[::2].copy(), adata[1::2].copy()
    >>> _ = uc.bench.run_transfer(query, reference, groupby="cell_type", methods=["PCA"])
    >>> uc.pl.benchmark_confusion(query, "PCA", key="benchmark_transfer", show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.bench.run", needs=("confusion",))
    table = found["confusion"]
    mine = table[table["method"] == method]
    if mine.empty:
        names = ", ".join(map(repr, table["method"].unique())) or "none"
        raise ValueError(f"{method!r} has no labels across batches or data sets; the methods are {names}.")
    counts = mine.pivot_table(index="truth", columns="predicted", values="n_cells", aggfunc="sum", fill_value=0)
    types = sorted(set(counts.index) | set(counts.columns))
    counts = counts.reindex(columns=types, fill_value=0)
    n_runs = mine["seed"].nunique()
    sizes = counts.sum(axis=1)
    share = counts.div(sizes, axis=0)
    with style():
        grid = fit_grid(share.index, types, cell=_CELL)
        right = float(np.sum([counts.loc[t, t] for t in counts.index]) / counts.to_numpy().sum())
        (head,) = wrap([f"{method}: {right:.0%} correct"], max(24, int(grid.columns.extent / _TITLE)))
        figure, axes = get_axes(ax, *(figsize or grid.size(above=8 * MM + 3.5 * MM * head.count("\n"))))
        image = axes.imshow(share, cmap=get_cmap(cmap, SEQUENTIAL), vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(share.to_numpy()):
            if value >= 0.005 and grid.columns.pitch > _NARROW:
                text, color = f"{value:.2f}".replace("0.", "."), text_color(tuple(image.to_rgba(value)))
                axes.text(column, row, text, ha="center", va="center", size=5, color=color)
        for row, n in enumerate(sizes):
            axes.text(len(types) - 0.4, row, f"{n / n_runs:,.0f}", va="center", size=max(5, grid.rows.size - 0.5))
        set_rows(axes, grid.rows)
        set_columns(axes, grid.columns)
        axes.set_ylim(len(share) - 0.5, -0.5)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="Predicted", ylabel="Type")
        axes.set_title(head)
        add_colorbar(axes, image, "Share of the type", grid)
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

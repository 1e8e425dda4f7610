"""Plot the confusion matrix of a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np

from univerce._docs import document
from univerce.pl._figure import MM, SEQUENTIAL, finish, get_axes, get_result, style, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL, _AROUND = 5 * MM, 38 * MM


@document
def benchmark_confusion(
    adata: ad.AnnData,
    method: str,
    *,
    key: str = "benchmark",
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
        Annotated data, after :func:`univerce.bench.run`, or the query after :func:`univerce.bench.run_transfer`.
    method
        Name of the method.
    %(figure)s
    %(drawn)s
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
        size = (_AROUND + len(types) * _CELL + 12 * MM, _AROUND + len(share) * _CELL)
        figure, axes = get_axes(ax, *(figsize or size))
        axes.imshow(share, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(share.to_numpy()):
            if value >= 0.005:
                text, color = f"{value:.2f}".replace("0.", "."), "black" if value > 0.6 else "white"
                axes.text(column, row, text, ha="center", va="center", size=5, color=color)
        for row, n in enumerate(sizes):
            axes.text(len(types) - 0.4, row, f"{n / n_runs:,.0f}", va="center", size=5.5)
        axes.set_xticks(range(len(types)), wrap(types, 60), rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(share)), wrap(share.index, 24))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlabel="Predicted", ylabel="Type")
        right = float(np.sum([counts.loc[t, t] for t in counts.index]) / counts.to_numpy().sum())
        axes.set_title(f"{method}: {right:.0%} correct")
        return finish(figure, axes, own=ax is None, show=show, return_fig=return_fig)

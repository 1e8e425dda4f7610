"""Draw the confusion matrix of a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce.pl._figure import MM, SEQUENTIAL, finish, get_axes, get_result, style, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = 5 * MM
_AROUND = 38 * MM


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
    """Draw the labels that logistic regression predicts in a held-out batch or a query.

    Each row is a type and sums to 1 over all seeds, with the number of cells at the right.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.bench.run`, or the query after :func:`univerce.bench.run_transfer`.
    method
        Name of the method.
    key
        The ``key_added`` of the benchmark.
    figsize
        Inches; ``None`` depends on the number of types.
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
        If ``uns[key]`` is not a benchmark.
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
        size = figsize or (_AROUND + len(types) * _CELL + 12 * MM, _AROUND + len(share) * _CELL)
        figure, axes = get_axes(ax, *size)
        axes.imshow(share, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
        _numbers(axes, share)
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


def _numbers(ax: Axes, share: pd.DataFrame) -> None:
    for (row, column), value in np.ndenumerate(share.to_numpy()):
        if value >= 0.005:
            text = f"{value:.2f}".replace("0.", ".")
            ax.text(column, row, text, ha="center", va="center", size=5, color="black" if value > 0.6 else "white")

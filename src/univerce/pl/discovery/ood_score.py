"""Plot distances of cells to a reference."""

from __future__ import annotations

import anndata as ad
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import BASELINE, MATCH, SINGLE, finish, get_axes, get_result, style
from univerce.pl._parts import add_legend


@document
def ood_score(
    adata: ad.AnnData,
    key: str = "ood",
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the distances of cells to a reference, and of reference cells to each other.

    The dashed line is the distance beyond which 5 % of the reference cells lie.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.ood_score`.
    %(figure, drawn)s

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(cells)
    >>> adata, reference = cells[:100].copy(), cells[100:].copy()
    >>> uc.tl.ood_score(adata, reference)
    >>> uc.pl.ood_score(adata, show=False)
    <Axes: ...>
    """
    result = get_result(adata, key, made_by="uc.tl.ood_score", needs=("calibration", "table", "params"))
    if f"{key}_score" not in adata.obs:
        raise KeyError(f"adata.obs[{key + '_score'!r}] does not exist. Call uc.tl.ood_score again.")
    score = adata.obs[f"{key}_score"].dropna().to_numpy(float)
    reference = np.asarray(result["calibration"], float)
    series = [("reference", reference, BASELINE), ("cells", score, MATCH)]
    bins = np.histogram_bin_edges(np.concatenate([values for _, values, _ in series]), 40)
    with style():
        figure, axes = get_axes(ax, *(figsize or (SINGLE, 0.7 * SINGLE)))
        for i, (name, values, color) in enumerate(series):
            share = 100 * np.histogram(values, bins)[0] / len(values)
            axes.stairs(
                share, bins, color=color, fill=i == 0, alpha=0.6 if i == 0 else 1, label=f"{name} ({len(values):,})"
            )
        limit = np.quantile(reference, 0.95, method="higher")
        axes.axvline(limit, color="black", linestyle=(0, (4, 3)), linewidth=0.8, label="95 % of the reference")
        k = int(result["params"]["n_neighbors"])
        axes.set(xlabel=f"Distance to the k-th nearest reference cell, k = {k}", ylabel="Cells (%)")
        add_legend(axes, ncols=2, columnspacing=1)
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

"""Draw which genes take cells in a direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce.pl._figure import (
    DOUBLE,
    MATCH,
    MISMATCH,
    MM,
    SINGLE,
    finish,
    get_axes,
    get_result,
    new_figure,
    style,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW, _AROUND = 3.6 * MM, 24 * MM


def gene_attribution(
    adata: ad.AnnData,
    *,
    groups: str | Sequence[str] | None = None,
    n_genes: int = 20,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Draw the genes with the largest mean attributions of each group: what takes it in the direction, and what away.

    Bars to the right, blue, take the cells in the direction, those to the left, orange, away from it. The line on a bar
    reaches from the lower to the upper quartile over the cells.

    Parameters
    ----------
    adata
        What :func:`univerce.tl.gene_attribution` returned.
    groups
        A group, or several side by side; ``None`` is the group that the direction leads to, or the first.
    n_genes
        Genes of each group.
    figsize
        Inches; ``None`` is one column wide for one group, else a page, and as high as there are genes.
    ax
        Draw into these axes, which takes one group.
    show
        Show the figure; ``None`` shows it unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    ``None`` when the figure was shown, else the axes (an array when there are several), or the figure with
    ``return_fig``.

    Raises
    ------
    KeyError
        When ``adata`` is not what :func:`univerce.tl.gene_attribution` returned.
    ValueError
        When a group is unknown or has no cells, ``n_genes`` is less than 1, or ``ax`` is given for several groups.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:16].copy()
    >>> result = uc.tl.gene_attribution(adata, "CD19+ B", groupby="cell_type")
    >>> uc.pl.gene_attribution(result, show=False)
    <Axes: ...>
    """
    params = get_result(adata, "params", made_by="uc.tl.gene_attribution", needs=("direction", "groupby"))
    if "means" not in adata.uns:
        raise KeyError("adata.uns['means'] does not exist. Pass what uc.tl.gene_attribution returned.")
    means: pd.DataFrame = adata.uns["means"]
    means = means[means["n_cells"] > 0]
    there = list(dict.fromkeys(means["group"].astype(str)))
    toward = str(params["direction"])
    wanted = [groups] if isinstance(groups, str) else list(groups or [toward if toward in there else there[0]])
    if unknown := [group for group in wanted if group not in there]:
        raise ValueError(f"There are no cells of {unknown[0]!r}; choose from {', '.join(map(repr, there))}.")
    if isinstance(n_genes, bool) or n_genes < 1:
        raise ValueError(f"n_genes={n_genes!r} must be an integer >= 1.")
    if ax is not None and len(wanted) > 1:
        raise ValueError("ax= takes one group; choose one with groups=.")
    height = _ROW * min(n_genes, adata.n_vars) + _AROUND
    with style():
        own = ax is None
        if len(wanted) == 1:
            figure, one = get_axes(ax, *(figsize or (SINGLE, height)))
            axes = np.array([one])
        else:
            size = figsize or (max(DOUBLE, 0.5 * DOUBLE / 1.5 * len(wanted)), height)
            figure, axes = new_figure(*size, ncols=len(wanted))
        for panel, group in zip(axes, wanted, strict=True):
            _draw(panel, adata, means[means["group"].astype(str) == group], group, str(params["groupby"]), n_genes)
            panel.set_xlabel(
                f"Attributed cosine, toward {'a direction' if toward == 'vector' else toward}", loc="right"
            )
        return finish(figure, axes if len(wanted) > 1 else axes[0], own=own, show=show, return_fig=return_fig)


def _draw(ax: Axes, adata: ad.AnnData, means: pd.DataFrame, group: str, groupby: str, n: int) -> None:
    largest = means["attribution"].abs().sort_values(ascending=False, kind="stable").index[:n]
    table = means.loc[largest].sort_values("attribution", ascending=False, kind="stable")
    mine = np.ones(adata.n_obs, bool) if not groupby else (adata.obs[groupby].astype(str) == group).to_numpy()
    values = np.asarray(adata[mine, table["gene"]].X, dtype=float)
    low, high = np.nanquantile(values, [0.25, 0.75], axis=0)
    y, mean = np.arange(len(table)), table["attribution"].to_numpy(float)
    ax.barh(y, mean, color=np.where(mean > 0, MATCH, MISMATCH), height=0.72)
    ax.hlines(y, low, high, color="black", linewidth=0.7)
    ax.axvline(0, color="black", linewidth=0.6)
    ax.set_yticks(y, table["gene"], fontstyle="italic")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.spines["left"].set_visible(False)
    ax.locator_params(axis="x", nbins=5)
    ax.set_title("\n".join(wrap([f"{group} ({int(table['n_cells'].iloc[0]):,} cells)"])))

"""Plot which genes move cells in a direction."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from univerce._docs import document
from univerce._validate import check_whole
from univerce.pl._figure import DOUBLE, MATCH, MISMATCH, MM, SINGLE, finish, get_panels, get_result, style, wrap
from univerce.pl._parts import fit_labels, mark, set_rows

_ROW, _AROUND, _LEGEND, _LINE = 3.2 * MM, 17 * MM, 13 * MM, 3.2 * MM


@document
def gene_attribution(
    adata: ad.AnnData,
    key: str = "gene_attribution",
    *,
    groups: str | Sequence[str] | None = None,
    n_genes: int = 20,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Plot the genes with the largest mean attributions of each group.

    Blue bars to the right move cells in the direction, orange bars to the left away from it. Lines on the bars are the
    interquartile ranges over the cells.

    Parameters
    ----------
    adata
        Result of :func:`univerce.tl.gene_attribution`.
    %(key)s
    groups
        A group, or several side by side; ``None`` is the group that the direction leads to, or the first.
    n_genes
        Number of genes to plot for each group.
    %(title, figsize, ax, show, return_fig, drawn)s
    ValueError
        If a group is unknown or has no cells, ``n_genes`` is below 1, or ``ax`` is given for several groups.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:16].copy()
    >>> result = uc.tl.gene_attribution(adata, "CD19+ B", groupby="cell_type")
    >>> uc.pl.gene_attribution(result, show=False)
    <Axes: ...>
    """
    result = get_result(
        adata, key, made_by="uc.tl.gene_attribution", needs=("table.attribution", "params"), returned=True
    )
    check_whole("n_genes", n_genes, 1)
    table = result["table"][result["table"]["n_cells"] > 0]
    tables = {str(name): part for name, part in table.groupby("group", sort=False, observed=True)}
    direction = str(result["params"]["direction"])
    default = direction if direction in tables else next(iter(tables), "")
    wanted = [default] if groups is None else [str(group) for group in np.atleast_1d(groups)]
    if unknown := [group for group in wanted if group not in tables]:
        raise ValueError(f"There are no cells of {unknown[0]!r}; choose from {', '.join(map(repr, tables))}.")
    width, n_below = SINGLE if len(wanted) == 1 else DOUBLE, -(-len(wanted) // 3)
    name = "a direction" if direction == "vector" else direction
    (toward,) = wrap([f"toward {name}"], 40)
    heads = wrap(f"{group} ({int(tables[group]['n_cells'].iloc[0]):,}\N{NO-BREAK SPACE}cells)" for group in wanted)
    with style():
        height = _ROW * min(n_genes, adata.n_vars) + _AROUND + _LINE * max(head.count("\n") for head in heads)
        size = figsize or (width, n_below * height + _LEGEND + _LINE * toward.count("\n"))
        figure, axes = get_panels(ax, size, len(wanted))
        for panel, group, head in zip(axes, wanted, heads, strict=True):
            groupby = str(result["params"]["groupby"])
            mine = adata.obs[groupby].astype(str) == group if groupby else np.ones(adata.n_obs, bool)
            _draw(panel, adata[np.asarray(mine)], tables[group], n_genes)
            panel.set_title(head)
            panel.set_xlabel("Attributed cosine", loc="right")
            panel.locator_params(axis="x", nbins=5 if len(wanted) == 1 else 3)
        _add_legend(axes[0] if ax is not None else figure, toward)
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)


def _add_legend(where: Figure | Axes, toward: str) -> None:
    """Say what bars and lines are, below the panels."""
    handles = [
        Patch(color=MATCH, label=toward),
        Patch(color=MISMATCH, label="away from it"),
        mark("interquartile range of the cells", color="black", linestyle="-", linewidth=0.7),
    ]
    place = (
        {"loc": "upper left", "bbox_to_anchor": (0, -0.1)} if hasattr(where, "plot") else {"loc": "outside lower left"}
    )
    where.legend(handles=handles, **place)


def _draw(ax: Axes, cells: ad.AnnData, means: pd.DataFrame, n: int) -> None:
    largest = means["attribution"].abs().sort_values(ascending=False, kind="stable").index[:n]
    top = means.loc[largest].sort_values("attribution", ascending=False, kind="stable")
    y, mean = np.arange(len(top)), top["attribution"].to_numpy(float)
    low, high = np.nanquantile(np.asarray(cells[:, top["gene"]].X, dtype=float), [0.25, 0.75], axis=0)
    ax.barh(y, mean, color=np.where(mean > 0, MATCH, MISMATCH), height=0.72)
    ax.hlines(y, low, high, color="black", linewidth=0.7)
    ax.axvline(0, color="black", linewidth=0.6)
    set_rows(ax, fit_labels(top["gene"]), italic=True)
    ax.spines["left"].set_visible(False)

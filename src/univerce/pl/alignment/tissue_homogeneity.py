"""Plot the homogeneity of cell types across tissues."""

from __future__ import annotations

from typing import Literal

import anndata as ad
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import finish, get_axes, get_result, style
from univerce.pl._shares import by_representation, draw_shares, shares_size


@document
def tissue_homogeneity(
    adata: ad.AnnData,
    *,
    by: Literal["type", "tissue"] = "type",
    k: int | None = None,
    key: str = "tissue_homogeneity",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the share of centroids with the same type of another tissue among the nearest.

    Numbers count these centroids, and all centroids whose type occurs in a second tissue. The line on a bar is the 95 %
    interval of shuffled types, its tick their mean.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.tissue_homogeneity`.
    by
        Draw bars for each ``"type"`` or each ``"tissue"``, below those of all.
    k
        Number of nearest centroids; ``None`` is the smallest in the result.
    %(figure, drawn)s
    ValueError
        If ``by`` is unknown, or ``k`` is not in the result.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> _ = uc.tl.tissue_homogeneity(adata, tissue_key="phase")
    >>> uc.pl.tissue_homogeneity(adata, show=False)
    <Axes: ...>
    """
    scores = get_result(adata, key, made_by="uc.tl.tissue_homogeneity", needs=("table", "centroids"))["table"]
    if by not in ("type", "tissue"):
        raise ValueError(f"by={by!r} is not known; use 'type' or 'tissue'.")
    ks = sorted({int(n) for n in scores["k"]})
    k = ks[0] if k is None else k
    if k not in ks:
        raise ValueError(f"k={k!r} is not in the result; choose from {', '.join(map(str, ks))}.")
    table = scores[(scores["k"] == k) & scores["by"].isin(["overall", by])]
    names = list(dict.fromkeys(table["name"].astype(str)))
    series = by_representation(table)
    with style():
        figure, axes = get_axes(ax, *(figsize or shares_size(series, names)))
        label = f"Centroids with the same type of another\ntissue in the top {k} (%)"
        draw_shares(axes, series, names, label=label, chance="shuffled types")
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

"""Plot silhouettes by cell type."""

from __future__ import annotations

import anndata as ad
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import CHANCE, finish, get_axes, get_result, style
from univerce.pl._points import draw_points, points_size


@document
def silhouette_by_type(
    adata: ad.AnnData,
    *,
    key: str = "silhouette_by_type",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the silhouette of each cell type in each embedding, sorted by the highest.

    The vertical line is a cell between two types. The legend has the share of types that an embedding wins. Types
    without a silhouette are not drawn.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.silhouette_by_type`.
    %(figure, drawn)s

    Examples
    --------
    >>> import scanpy as sc
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> adata.obsm["X_pca"] = sc.pp.pca(sc.pp.log1p(adata.X.astype("float32")), n_comps=50)
    >>> _ = uc.tl.silhouette_by_type(adata, use_reps=["X_uce", "X_pca"])
    >>> uc.pl.silhouette_by_type(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.tl.silhouette_by_type", needs=("table.silhouette", "summary"))
    won = found["summary"].set_index("use_rep")["share_won"]
    table = found["table"].pivot(index="type", columns="use_rep", values="silhouette")[list(won.index)].dropna()
    with style():
        figure, axes = get_axes(ax, *(figsize or points_size(table)))
        axes.axvline(0.5, color=CHANCE, linewidth=0.8, zorder=0)
        names = {name: f"{name}: wins {100 * share:.0f} %" for name, share in won.items()}
        draw_points(axes, table, names, label="Mean silhouette, scaled to [0, 1]")
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

"""Plot how well cells of held-out types are found."""

from __future__ import annotations

import anndata as ad
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import CHANCE, finish, get_axes, get_result, style
from univerce.pl._points import draw_points, points_size


@document
def evaluate_ood_score(
    adata: ad.AnnData,
    key: str = "ood_evaluation",
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the AUROC of each held-out cell type in each embedding.

    The vertical line is chance. The legend has the means of the types, and the share of held-out cells that are flagged
    at a p-value of 0.05.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.evaluate_ood_score`.
    %(figure, drawn)s

    Examples
    --------
    >>> import scanpy as sc
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> adata.obsm["X_pca"] = sc.pp.pca(sc.pp.log1p(adata.X.astype("float32")), n_comps=50)
    >>> _ = uc.tl.evaluate_ood_score(adata, use_reps=["X_uce", "X_pca"])
    >>> uc.pl.evaluate_ood_score(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.tl.evaluate_ood_score", needs=("table.auroc", "summary"))
    means = found["summary"].set_index("use_rep")
    table = found["table"].pivot(index="type", columns="use_rep", values="auroc")[list(means.index)]
    names = {
        name: f"{name}: mean {row['auroc']:.2f}, {100 * row['flagged']:.0f} % flagged" for name, row in means.iterrows()
    }
    with style():
        figure, axes = get_axes(ax, *(figsize or points_size(table)))
        axes.axvline(0.5, color=CHANCE, linewidth=0.8, zorder=0)
        draw_points(axes, table, names, label="AUROC of cells of a held-out type")
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

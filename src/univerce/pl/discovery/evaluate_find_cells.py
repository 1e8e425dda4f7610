"""Plot how well hidden types are found again."""

from __future__ import annotations

import anndata as ad
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import finish, get_axes, get_result, style
from univerce.pl._points import draw_points, points_size


@document
def evaluate_find_cells(
    adata: ad.AnnData,
    key: str = "evaluate_find_cells",
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the average precision of every hidden type in each embedding.

    The black tick of a row is the average precision of a random order, the share of cells of the type. The legend
    states the mean over the types.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.evaluate_find_cells`.
    %(figure, drawn)s

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> _ = uc.tl.evaluate_find_cells(adata, "cell_type", min_cells=50, n_comps=20)
    >>> uc.pl.evaluate_find_cells(adata, show=False)
    <Axes: ...>
    """
    scores = get_result(adata, key, made_by="uc.tl.evaluate_find_cells", needs=("table.average_precision",))["table"]
    keys = list(dict.fromkeys(scores["use_rep"].astype(str)))
    table = scores.pivot(index="type", columns="use_rep", values="average_precision")[keys]
    chance = scores.drop_duplicates("type").set_index("type")["prevalence"]
    with style():
        figure, axes = get_axes(ax, *(figsize or points_size(table)))
        names = {name: f"{name}: {mean:.2f}" for name, mean in table.mean().items()}
        draw_points(axes, table, names, label="Average precision\nof finding the hidden type", chance=chance)
        axes.set_xlim(-0.02, 1.02)
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

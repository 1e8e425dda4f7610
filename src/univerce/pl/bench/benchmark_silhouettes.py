"""Plot the silhouettes of types in a benchmark."""

from __future__ import annotations

import anndata as ad
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import CHANCE, finish, get_axes, get_result, style
from univerce.pl._points import draw_points, points_size


@document
def benchmark_silhouettes(
    adata: ad.AnnData,
    key: str = "benchmark",
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the silhouette of each type in every embedding, as means over the seeds.

    The vertical line is a cell between two types. The legend has the share of types that a method wins. Controls and
    methods that saw the labels are left out.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.bench.run`.
    %(figure, drawn)s
    ValueError
        If no method was scored by types.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> _ = uc.bench.run(adata, groupby="cell_type", methods=["PCA", "HVG"], seeds=[0], scib=False)
    >>> uc.pl.benchmark_silhouettes(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.bench.run", needs=("table", "runs"))
    scores = found["table"]
    won = scores[scores["metric"] == "types won"].set_index("method")["value"]
    won = won.sort_values(ascending=False, kind="stable")
    mine = scores[(scores["metric"] == "silhouette") & (scores["group"] != "all") & scores["method"].isin(won.index)]
    if mine.empty:
        raise ValueError(
            f"No method of uns[{key!r}] has silhouettes by type; {found['runs']['method'].nunique()} took part."
        )
    table = mine.pivot_table(index="group", columns="method", values="value", sort=False)[list(won.index)]
    with style():
        figure, axes = get_axes(ax, *(figsize or points_size(table)))
        axes.axvline(0.5, color=CHANCE, linewidth=0.8, zorder=0)
        names = {name: f"{name}: wins {100 * share:.0f} %" for name, share in won.items()}
        draw_points(axes, table, names, label="Mean silhouette, scaled to [0, 1]")
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

"""Which embedding separates which type, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from univerce.pl._figure import BASELINE, PALETTE, SINGLE, finish, get_axes, get_result, style, wrap
from univerce.pl._shares import AROUND, ROW

if TYPE_CHECKING:
    import anndata as ad
    from matplotlib.axes import Axes

_MARKERS = "osD^vP*X"


def silhouette_by_type(
    adata: ad.AnnData,
    *,
    key: str = "silhouette_by_type",
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw the silhouette of every type in each embedding, the types that differ least apart at the bottom.

    Parameters
    ----------
    adata
        AnnData that :func:`univerce.tl.silhouette_by_type` wrote to.
    key
        Key of the results in ``uns``.
    figsize
        Inches; by default one column of a journal, and as high as it needs.
    ax
        Axes to draw into.
    show
        Show the figure; ``None`` does so unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    ``None`` when the figure was shown, else the axes, or the figure with ``return_fig``.

    Raises
    ------
    KeyError
        When the results are not in ``uns``.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata, progress=False)
    >>> _ = uc.tl.silhouette_by_type(adata, use_reps=["X_uce", "X_pca"])
    >>> uc.pl.silhouette_by_type(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.tl.silhouette_by_type", needs=("types", "summary"))
    types, won = found["types"], found["summary"].set_index("use_rep")["share_won"]
    table = types.pivot(index="type", columns="use_rep", values="silhouette")[list(dict.fromkeys(types["use_rep"]))]
    table = table.loc[table.max(axis=1).sort_values(ascending=False, kind="stable").index]
    size = figsize or (SINGLE, AROUND + 1.1 * ROW * len(table))
    y = np.arange(len(table))
    with style():
        own = ax is None
        figure, ax = get_axes(ax, *size)
        ax.hlines(y, table.min(axis=1), table.max(axis=1), color=BASELINE, linewidth=0.8, zorder=1)
        for i, name in enumerate(table.columns):
            ax.plot(
                table[name], y, _MARKERS[i % len(_MARKERS)], color=PALETTE[i % len(PALETTE)], markersize=4,
                label=f"{name}: {100 * won[name]:.0f} % won",
            )  # fmt: skip
        ax.set_yticks(y, wrap(table.index))
        ax.tick_params(axis="y", length=0)
        ax.set(ylim=(len(table) - 0.4, -0.6), xlabel="Mean silhouette, scaled to 0 to 1")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
        return finish(figure, ax, own=own, show=show, return_fig=return_fig)

"""Draw the silhouettes of types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np

from univerce.pl._figure import BASELINE, MM, PALETTE, SINGLE, finish, get_axes, get_result, style, wrap
from univerce.pl.bench._benchmark import is_control

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 4.2 * MM
_AROUND = 24 * MM
_MARKERS = "osD^vP*X"


def benchmark_silhouettes(
    adata: ad.AnnData,
    key: str = "benchmark",
    *,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Draw the silhouette of each type in every embedding, as means over the seeds, with a large mark for the best.

    Controls and methods that saw the labels are left out. The legend shows the share of types that a method wins.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.bench.run`.
    key
        Its ``key_added``.
    figsize
        Inches; ``None`` for the width of a column.
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
    control = is_control(found["runs"])
    won = (
        scores[scores["metric"] == "types won"].set_index("method")["value"].sort_values(ascending=False, kind="stable")
    )
    mine = scores[(scores["metric"] == "silhouette") & (scores["group"] != "all") & scores["method"].isin(won.index)]
    if mine.empty:
        raise ValueError(f"No method of uns[{key!r}] has silhouettes by type; {len(control)} took part.")
    wide = mine.pivot_table(index="group", columns="method", values="value", sort=False)[list(won.index)]
    wide = wide.loc[wide.max(axis=1).sort_values(ascending=False).index]
    with style():
        size = figsize or (SINGLE * 1.25, _AROUND + len(wide) * _ROW)
        figure, axes = get_axes(ax, *size)
        y = np.arange(len(wide))
        best = wide.eq(wide.max(axis=1), axis=0)
        for i, name in enumerate(wide):
            color, marker = PALETTE[i % len(PALETTE)], _MARKERS[i // len(PALETTE) % len(_MARKERS)]
            sizes = np.where(best[name], 34, 11)
            axes.scatter(
                wide[name], y, s=sizes, color=color, marker=marker, edgecolors="white", linewidths=0.4, zorder=3,
                label=f"{name} ({won[name]:.0%})",
            )  # fmt: skip
        axes.hlines(y, wide.min(axis=1), wide.max(axis=1), color="#DDDDDD", linewidth=0.8, zorder=1)
        axes.axvline(0.5, color=BASELINE, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
        axes.set_yticks(y, wrap(wide.index))
        axes.tick_params(axis="y", length=0)
        axes.set(ylim=(len(wide) - 0.4, -0.6), xlabel="Silhouette (dashed: between two types)")
        legend = axes.legend(
            title="Share of the types won",
            loc="upper left",
            bbox_to_anchor=(1.01, 1),
            borderaxespad=0,
            alignment="left",
        )
        handles: Any = legend.legend_handles
        for handle in handles:
            handle.set_sizes([20])
        return finish(figure, axes, own=ax is None, show=show, return_fig=return_fig)

"""Draw how found cells differ between conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd

from univerce.pl._figure import (
    BASELINE,
    DOUBLE,
    MM,
    PALETTE,
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

View = Literal["both", "donors", "genes"]
_ROW, _AROUND = 4.2 * MM, 24 * MM
_MARKERS = "osD^vP*X"


def compare_groups(
    adata: ad.AnnData,
    key: str = "compare_groups",
    *,
    view: View = "both",
    genes: Sequence[str] | None = None,
    n_genes: int = 20,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Draw how many cells of each donor were found in every condition, and the genes that differ between conditions.

    A point of the left panel is a donor, the line the mean of a condition with its standard error; the p-value is that
    of the comparison with the reference. The right panel holds log2 fold changes against the reference, in filled
    symbols where the adjusted p-value is below 0.05.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.tl.compare_groups`.
    key
        Its ``key_added``.
    view
        ``"donors"``, ``"genes"``, or ``"both"`` side by side.
    genes
        Genes to draw, in this order; ``None`` takes those with the lowest p-values, highest fold change first.
    n_genes
        How many of these.
    figsize
        Inches; ``None`` is as wide as a page (one column for one view) and as high as there are rows.
    ax
        Draw into these axes, which takes one view.
    show
        Show the figure; ``None`` shows it unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    ``None`` when the figure was shown, else the axes (two for ``view="both"``), or the figure with ``return_fig``.

    Raises
    ------
    KeyError
        When the results are not in ``uns``, or a gene was not compared.
    ValueError
        When ``view`` is unknown, ``n_genes`` is less than 1, or ``ax`` is given for both views.

    Examples
    --------
    >>> import numpy as np
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["found"] = adata.obs["cell_type"] == "CD14+ Monocyte"
    >>> adata.obs["donor"] = [f"donor {i % 6}" for i in range(adata.n_obs)]
    >>> adata.obs["state"] = np.where(adata.obs["donor"] < "donor 3", "control", "disease")
    >>> _ = uc.tl.compare_groups(adata, condition="state", donor="donor", reference="control")
    >>> axes = uc.pl.compare_groups(adata, show=False)
    >>> len(axes)
    2
    """
    found = get_result(adata, key, made_by="uc.tl.compare_groups", needs=("genes", "donors", "abundance", "params"))
    if view not in get_args(View):
        raise ValueError(f"view={view!r} is not known; use one of {', '.join(map(repr, get_args(View)))}.")
    if view == "both" and ax is not None:
        raise ValueError('ax= takes one view; pass view="donors" or view="genes" as well.')
    if isinstance(n_genes, bool) or n_genes < 1:
        raise ValueError(f"n_genes={n_genes!r} must be an integer >= 1.")
    changes = _changes(found["genes"], genes, n_genes)
    n_rows = {"donors": 3 * len(found["abundance"]), "genes": len(changes)}
    height = _ROW * max(n for name, n in n_rows.items() if view in ("both", name)) + _AROUND
    with style():
        if view == "both":
            figure, axes = new_figure(*(figsize or (DOUBLE, height)), ncols=2)
        else:
            figure, one = get_axes(ax, *(figsize or (SINGLE, height)))
            axes = np.array([one])
        if view != "genes":
            _draw_donors(axes[0], found["donors"], found["abundance"])
        if view != "donors":
            _draw_genes(axes[-1], changes, str(found["params"]["reference"]))
        return finish(figure, axes if view == "both" else axes[0], own=ax is None, show=show, return_fig=return_fig)


def _changes(table: pd.DataFrame, genes: Sequence[str] | None, n: int) -> pd.DataFrame:
    """Fold changes and adjusted p-values, genes in rows and conditions in columns."""
    wide = table.pivot(index="gene", columns="group", values=["log2_fold_change", "p_adjusted"])
    wide = wide.reindex(columns=pd.unique(table["group"]), level=1)
    if genes is None:
        lowest = table.groupby("gene")["p_value"].min().sort_values(kind="stable").index[:n]
        chosen = wide.loc[lowest, "log2_fold_change"].mean(axis=1).sort_values(ascending=False, kind="stable").index
    else:
        if unknown := [gene for gene in genes if gene not in wide.index]:
            raise KeyError(f"{len(unknown)} genes were not compared: {', '.join(map(repr, unknown[:10]))}.")
        chosen = pd.Index(dict.fromkeys(genes))
    return wide.loc[chosen]


def _draw_donors(ax: Axes, donors: pd.DataFrame, abundance: pd.DataFrame) -> None:
    share, condition = 100 * donors["share"].to_numpy(float), donors["condition"].astype(str).to_numpy()
    right = max(share.max(), 1e-9)
    names = abundance["condition"].astype(str).tolist()
    means, errors, p_values = (abundance[key].to_numpy(float) for key in ("mean_share", "sem", "p_value"))
    for y, name in enumerate(names):
        mine = np.sort(share[condition == name])
        place = y + 0.25 * np.linspace(-1, 1, len(mine)) if len(mine) > 1 else np.full(len(mine), y)
        ax.plot(mine, place, "o", color=PALETTE[0], markersize=3.5, markeredgewidth=0.3, markeredgecolor="white")
        if np.isfinite(p_values[y]):
            ax.annotate(
                f"p = {p_values[y]:.2g}", (1, y), xycoords=ax.get_yaxis_transform(), size=6, ha="right", va="center"
            )
    rows = np.arange(len(names))
    ax.vlines(100 * means, rows - 0.38, rows + 0.38, color="black", linewidth=1)
    ax.hlines(rows, 100 * (means - errors), 100 * (means + errors), color="black", linewidth=0.8)
    labels = [f"{name} ({n} donors)" for name, n in zip(names, abundance["n_donors"], strict=True)]
    ax.set_yticks(rows, wrap(labels, 20))
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(-0.02 * right, 1.4 * right), ylim=(len(names) - 0.5, -0.5))
    ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= min(100, 1.4 * right)])
    ax.set_xlabel("Cells of a donor that are found (%)", loc="right")


def _draw_genes(ax: Axes, changes: pd.DataFrame, reference: str) -> None:
    from matplotlib.lines import Line2D

    values, adjusted = changes["log2_fold_change"], changes["p_adjusted"]
    y = np.arange(len(changes))
    ax.axvline(0, color=BASELINE, linewidth=0.8, zorder=0)
    handles = []
    for i, group in enumerate(values.columns):
        color, marker = PALETTE[i % len(PALETTE)], _MARKERS[i % len(_MARKERS)]
        place = y + 0.2 * (i - (values.shape[1] - 1) / 2)
        ax.hlines(place, 0, values[group], color=color, linewidth=0.6, alpha=0.5)
        sure = (adjusted[group] < 0.05).to_numpy()
        for which, face in ((sure, color), (~sure, "white")):
            ax.plot(
                values[group][which], place[which], linestyle="none", marker=marker, color=color, markersize=4,
                markerfacecolor=face, markeredgewidth=0.7,
            )  # fmt: skip
        handles.append(Line2D([], [], linestyle="none", marker=marker, color=color, markersize=4, label=str(group)))
    ax.set_yticks(y, changes.index, fontstyle="italic")
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(changes) - 0.4, -0.6)
    ax.set_xlabel(f"log2 fold change against {reference}\nfilled: adjusted p-value below 0.05", loc="right")
    ax.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, labelspacing=0.3)

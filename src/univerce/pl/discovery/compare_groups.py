"""Plot how found cells differ between conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce._validate import check_whole
from univerce.pl._figure import (
    BASELINE,
    DOUBLE,
    MARKERS,
    MM,
    PALETTE,
    SINGLE,
    finish,
    get_panels,
    get_result,
    style,
    wrap,
)
from univerce.pl._parts import add_legend, fit_labels, mark, set_rows

View = Literal["both", "donors", "genes"]
_ROW, _ENTRY, _AROUND = 4.2 * MM, 3 * MM, 24 * MM


@document
def compare_groups(
    adata: ad.AnnData,
    key: str = "compare_groups",
    *,
    view: View = "both",
    genes: Sequence[str] | None = None,
    n_genes: int = 20,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Plot the share of found cells of every donor, and the genes that differ between conditions.

    In the left panel a point is a donor, the line the mean of a condition with its standard error, and the p-value that
    of the comparison with the control. The right panel shows log2 fold changes against the control; symbols are filled
    if the adjusted p-value is below 0.05, and missing for genes with too few counts for a comparison.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.compare_groups`.
    %(key)s
    view
        ``"donors"``, ``"genes"``, or ``"both"`` side by side.
    genes
        Genes to plot, in this order; ``None`` takes those with the lowest p-values (without a test, the largest fold
        changes), highest fold change first.
    n_genes
        Number of genes that are chosen if ``genes`` is ``None``.
    %(title, figsize, ax, show, return_fig, drawn)s
        Also if a gene was not compared.
    ValueError
        If ``view`` is unknown, ``n_genes`` is below 1, or ``ax`` is given for both views.

    Examples
    --------
    >>> import numpy as np
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obs["found"] = adata.obs["cell_type"] == "CD14+ Monocyte"
    >>> adata.obs["donor"] = [f"donor {i % 6}" for i in range(adata.n_obs)]
    >>> adata.obs["state"] = np.where(adata.obs["donor"] < "donor 3", "control", "disease")
    >>> _ = uc.tl.compare_groups(adata, condition_key="state", donor_key="donor", control="control")
    >>> len(uc.pl.compare_groups(adata, show=False))
    2
    """
    result = get_result(adata, key, made_by="uc.tl.compare_groups", needs=("table", "donors", "abundance", "params"))
    if view not in get_args(View):
        raise ValueError(f"view={view!r} is unknown; use one of {', '.join(map(repr, get_args(View)))}.")
    check_whole("n_genes", n_genes, 1)
    changes = _changes(result["table"], genes, n_genes)
    n_rows = {"donors": 3 * len(result["abundance"]), "genes": len(changes)}
    views = ["donors", "genes"] if view == "both" else [view]
    height = _ROW * max(n_rows[name] for name in views) + _AROUND
    if view != "donors":
        height += _ENTRY * changes.shape[1] / 2
    size = DOUBLE if view == "both" else SINGLE, height
    with style():
        figure, axes = get_panels(ax, figsize or size, len(views))
        for panel, name in zip(axes, views, strict=True):
            if name == "donors":
                least = math.ceil(n_rows["genes"] / 3) if view == "both" else 0
                _draw_donors(panel, result["donors"], result["abundance"], least)
            else:
                _draw_genes(panel, changes, result["params"])
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)


def _changes(table: pd.DataFrame, genes: Sequence[str] | None, n: int) -> pd.DataFrame:
    """Fold changes and adjusted p-values, genes in rows and conditions in columns."""
    wide = table.pivot(index="gene", columns="group", values=["log2_fold_change", "p_adjusted"])
    wide = wide.reindex(columns=pd.unique(table["group"]), level=1)
    if genes is None:
        strength = table.assign(size=-table["log2_fold_change"].abs()).groupby("gene")[["p_value", "size"]].min()
        lowest = strength.sort_values(["p_value", "size"], kind="stable").index[:n]
        genes = wide.loc[lowest, "log2_fold_change"].mean(axis=1).sort_values(ascending=False, kind="stable").index
    elif unknown := [gene for gene in genes if gene not in wide.index]:
        raise KeyError(f"{len(unknown)} genes were not compared: {', '.join(map(repr, unknown[:10]))}.")
    return wide.loc[list(dict.fromkeys(genes))]


def _draw_donors(ax: Axes, donors: pd.DataFrame, abundance: pd.DataFrame, n_rows: int) -> None:
    share, condition = 100 * donors["share"].to_numpy(float), donors["condition"].astype(str).to_numpy()
    means, errors, p_values = (abundance[key].to_numpy(float) for key in ("mean_share", "sem", "p_value"))
    right, rows = max(share.max(initial=0), 100 * np.nanmax(means), 1e-9), np.arange(len(abundance))
    for y, name in zip(rows, abundance["condition"].astype(str), strict=True):
        mine = np.sort(share[condition == name])
        place = y + 0.25 * np.linspace(-1, 1, len(mine)) if len(mine) > 1 else np.full(len(mine), y)
        ax.plot(mine, place, "o", color=PALETTE[0], markersize=3.5, markeredgewidth=0.3, markeredgecolor="white")
        if np.isfinite(p_values[y]):
            text, transform = f"p = {p_values[y]:.2g}", ax.get_yaxis_transform()
            ax.annotate(text, (1, y), xycoords=transform, size=6, ha="right", va="center")
    ax.vlines(100 * means, rows - 0.38, rows + 0.38, color="black", linewidth=1)
    ax.hlines(rows, 100 * (means - errors), 100 * (means + errors), color="black", linewidth=0.8)
    of = "donors" if len(donors) else "cells"
    numbers = zip(abundance["condition"], abundance[f"n_{of}"], strict=True)
    labels = fit_labels([f"{name} ({n:,}\N{NO-BREAK SPACE}{of})" for name, n in numbers], width=24)
    set_rows(ax, labels, n_rows=max(n_rows, len(rows)))
    bar = mark("mean with standard error", color="black", linestyle="-", marker="|", markersize=7)
    add_legend(ax, handles=[mark(of[:-1], color=PALETTE[0], marker="o", markersize=3.5), bar] if len(donors) else [bar])
    ax.set_xlim(-0.02 * right, 1.4 * right)
    ax.set_xticks([tick for tick in ax.get_xticks() if 0 <= tick <= min(100, 1.4 * right)])
    ax.set_xlabel("Found cells of a donor (%)" if len(donors) else "Found cells (%)", loc="right")


def _draw_genes(ax: Axes, changes: pd.DataFrame, params: Mapping[str, Any]) -> None:
    y, groups = np.arange(len(changes)), changes["log2_fold_change"].columns
    ax.axvline(0, color=BASELINE, linewidth=0.8, zorder=0)
    for i, group in enumerate(groups):
        value, significant = changes["log2_fold_change", group], changes["p_adjusted", group].to_numpy() < 0.05
        place = y + min(0.2, 0.9 / len(groups)) * (i - (len(groups) - 1) / 2)
        marker = MARKERS[(i + i // len(PALETTE)) % len(MARKERS)]  # more conditions than colors
        look: dict[str, Any] = {"marker": marker, "color": PALETTE[i % len(PALETTE)], "markersize": 4}
        ax.hlines(place, 0, value, color=look["color"], linewidth=0.6, alpha=0.5)
        for which, face in ((significant, look["color"]), (~significant, "white")):
            ax.plot(value[which], place[which], linestyle="none", markerfacecolor=face, markeredgewidth=0.7, **look)
        ax.plot([], [], linestyle="none", label=wrap([group], 60)[0], **look)
    set_rows(ax, fit_labels(changes.index), italic=True)
    meaning = "filled: adjusted p-value below 0.05" if params["donor_key"] else "cells without donors: no test"
    ax.set_xlabel(f"log2 fold change against {params['control']}\n{meaning}", loc="right")
    add_legend(ax)

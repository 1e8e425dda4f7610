"""Plot distances in an embedding by distances in an ontology."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import MM, SEQUENTIAL, SINGLE, finish, get_axes, get_cmap, get_result, style

_OVERLAP = 1.6


@document
def ontology_distance(
    adata: ad.AnnData,
    *,
    key: str = "ontology_distance",
    cmap: str | Colormap | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the density of the distances of pairs of cells in the embedding, as a ridge per ontology distance.

    The tick under a ridge is the median. The columns show the number of pairs, and Cohen's d with its interval and the
    one-sided p-value of the step from the distance above; both treat types as the unit. All ridges have the same
    height.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.ontology_distance`.
    %(cmap, figure, drawn)s

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    %(types)s
    >>> _ = uc.tl.ontology_distance(adata, ontology="CL", ontology_ids=types, n_pairs=10_000)
    >>> uc.pl.ontology_distance(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.tl.ontology_distance", needs=("table", "density", "params"))
    table, densities = found["table"], found["density"]
    with style():
        figure, axes = get_axes(ax, *(figsize or (1.2 * SINGLE, (len(table) + 1) * 7 * MM + 14 * MM)))
        colors = get_cmap(cmap, SEQUENTIAL)(np.linspace(0.1, 0.95, len(table)))
        front = len(table) + 1
        x = densities["x"].to_numpy(dtype=float)
        for (_, row), color, y in zip(table.iterrows(), colors, range(len(table)), strict=True):
            height = densities[str(int(row["ontology_distance"]))].to_numpy(dtype=float)
            if np.isfinite(height).all():
                top = y - _OVERLAP * height / height.max()
                axes.fill_between(x, y, top, color=color, alpha=0.85, linewidth=0, zorder=y)
                axes.plot(x, top, color="white", linewidth=0.6, zorder=y)
            axes.axhline(y, color="#BBBBBB", linewidth=0.4, zorder=y)
            axes.plot(row["median"], y, marker=2, color="black", markersize=4, markeredgewidth=0.9, zorder=front)
            _write_columns(axes, y, _texts(row))
        _write_columns(axes, -1, ("pairs", "d (95 %)", "p"), weight="bold")
        axes.set_yticks(range(len(table)), table["ontology_distance"].astype(str))
        axes.set_ylim(len(table) - 0.6, -_OVERLAP - 0.1)
        axes.set_xlim(x[0], x[-1])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set(xlabel=f"Distance in {found['params']['use_rep']} (tick: median)", ylabel="Distance in the ontology")
        of_types = f"types {found['spearman_types']:.2f}" + (
            "" if np.isnan(p := found["p_value"]) else f" (p = {p:.2g})"
        )
        axes.set_title(f"Spearman: cells {found['spearman']:.2f}, {of_types}", weight="normal")
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)


def _write_columns(ax: Axes, y: float, texts: tuple[str, str, str], weight: str = "normal") -> None:
    """Write three columns to the right of the axes."""
    for points, text in zip((32, 98, 122), texts, strict=True):
        ax.annotate(
            text, (1, y), (points, 1), xycoords=ax.get_yaxis_transform(), textcoords="offset points", ha="right",
            va="bottom", size=6, weight=weight,
        )  # fmt: skip


def _texts(row: pd.Series) -> tuple[str, str, str]:
    """Number of pairs, effect size with interval and p-value, the last two empty if undefined."""
    d, low, high, p = (row[name] for name in ("d", "d_low", "d_high", "p_value"))
    effect = f"{d:+.2f} ({low:.2f}, {high:.2f})" if np.isfinite([d, low, high]).all() else ""
    return f"{int(row['n_pairs']):,}", effect, f"{p:.2g}" if np.isfinite(p) else ""

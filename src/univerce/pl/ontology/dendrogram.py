"""Draw a tree of cell types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np

from univerce.pl._figure import (
    CHANCE,
    MATCH,
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
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VIEWS = ("both", "tree", "ari")
_LINE = 2.9 * MM
_MARKERS = "os^Dv"


def dendrogram(
    adata: ad.AnnData,
    groupby: str = "cell_type",
    *,
    view: Literal["both", "tree", "ari"] | None = None,
    depth: int | None = None,
    key: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Draw the tree of cell types, the ontology's division of them, and how both agree at each cut.

    The tree grows from the left; a merge lies at the distance at which it happens. With an ontology, a mark at each
    leaf shows the term that the type belongs to at ``depth``, by color and, beyond eight terms, by shape. The second
    part shows the adjusted Rand index at each depth, over the 95 % interval of shuffled types.

    Parameters
    ----------
    adata
        Data that :func:`univerce.tl.dendrogram` has written to; ``"tree"`` also draws what :func:`scanpy.tl.dendrogram`
        wrote.
    groupby
        Column of ``obs`` with the types.
    view
        ``"tree"``, ``"ari"``, or ``"both"``; ``None`` is both when there is a comparison with an ontology and no
        ``ax``, else the tree.
    depth
        Depth of the ontology for the marks; ``None`` is the deepest cut into at most eight terms.
    key
        Where the results are in ``uns``; ``None`` is ``f"dendrogram_{groupby}"``.
    figsize
        Inches; ``None`` is one column wide, and as high as the labels need.
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
        When the results are not in ``uns``.
    ValueError
        When ``view`` is unknown or needs an ontology that was not compared, ``depth`` is none of the cuts, or ``ax`` is
        given for both views.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> uc.tl.dendrogram(adata, "cell_type")
    >>> uc.pl.dendrogram(adata, "cell_type", show=False)
    <Axes: xlabel='Distance'>
    """
    key = f"dendrogram_{groupby}" if key is None else key
    found = get_result(adata, key, made_by="uc.tl.dendrogram", needs=("dendrogram_info", "categories_ordered"))
    compared: Mapping[str, Any] | None = found.get("ontology")
    if view is None:
        view = "both" if compared is not None and ax is None else "tree"
    if view not in VIEWS:
        raise ValueError(f"view={view!r} is not known; use one of {', '.join(map(repr, VIEWS))}.")
    if compared is None and (view != "tree" or depth is not None):
        raise ValueError(
            f"adata.uns[{key!r}] holds no comparison with an ontology; call uc.tl.dendrogram with ontology= and "
            'ontology_ids=, or draw view="tree" alone.'
        )
    if view == "both" and ax is not None:
        raise ValueError('ax= takes one view; pass view="tree" or view="ari" as well.')
    clusters = None if compared is None else _cut(compared, depth)

    with style():
        labels = wrap(found["categories_ordered"])
        height = len(labels) * max(label.count("\n") + 1 for label in labels) * _LINE + 12 * MM
        height += 0 if clusters is None else (clusters.nunique() + 1) // 2 * _LINE
        if view == "both":
            size = figsize or (SINGLE, height + 38 * MM)
            figure, axes = new_figure(*size, nrows=2, height_ratios=[height, 38 * MM])
        else:
            figure, one = get_axes(ax, *(figsize or (SINGLE, height if view == "tree" else 42 * MM)))
            axes = np.array([one])
        if view != "ari":
            _draw_tree(axes[0], found, labels, clusters)
        if compared is not None and view != "tree":
            _draw_ari(axes[-1], compared["ari"])
        return finish(figure, axes if view == "both" else axes[0], own=ax is None, show=show, return_fig=return_fig)


def _cut(compared: Mapping[str, Any], depth: int | None) -> pd.Series:
    """The term of each type at a depth."""
    table, clusters = compared["ari"], compared["clusters"]
    if depth is None:
        few = table[table["n_clusters"] <= len(PALETTE)]
        depth = int((few if len(few) else table.iloc[:1])["depth"].max())
    if str(depth) not in clusters:
        raise ValueError(f"depth={depth!r} divides nothing anew; the cuts are at {', '.join(clusters.columns)}.")
    return clusters[str(depth)].astype(str).rename(f"Ontology, depth {depth}")


def _draw_tree(ax: Axes, found: Mapping[str, Any], labels: list[str], clusters: pd.Series | None) -> None:
    from matplotlib.lines import Line2D

    info = found["dendrogram_info"]
    for places, heights in zip(np.array(info["icoord"]), np.array(info["dcoord"]), strict=True):
        ax.plot(heights, places, color="#555555", linewidth=0.8, solid_capstyle="projecting")
    at = np.arange(5, 10 * len(labels), 10)
    top = float(np.max(info["dcoord"])) or 1.0  # types that all lie on one point
    ax.set_xlim(1.03 * top, -0.04 * top)
    ax.set_ylim(10 * len(labels), 0)
    ax.yaxis.tick_right()
    ax.set_yticks(at, labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("1 - correlation" if "metric" not in found else "Distance")
    if clusters is None:
        return
    looks: dict[str, dict[str, Any]] = {
        term: {"color": PALETTE[i % len(PALETTE)], "marker": _MARKERS[i // len(PALETTE) % len(_MARKERS)]}
        for i, term in enumerate(dict.fromkeys(clusters.reindex(found["categories_ordered"]).dropna()))
    }
    marks: dict[str, Any] = {"linestyle": "none", "markersize": 4.5, "clip_on": False}
    for y, name in zip(at, found["categories_ordered"], strict=True):
        if name in clusters.index:
            ax.plot(0, y, zorder=3, **marks, **looks[clusters[name]])
    handles = [Line2D([], [], label="\n".join(wrap([term])), **marks, **look) for term, look in looks.items()]
    ax.legend(
        handles=handles, title=clusters.name, title_fontsize=7, alignment="left", loc="lower left",
        bbox_to_anchor=(-0.02, 1), ncols=2, columnspacing=1, handletextpad=0.2,
    )  # fmt: skip


def _draw_ari(ax: Axes, table: pd.DataFrame) -> None:
    x = np.arange(len(table))
    if table["chance"].notna().all():
        ax.fill_between(x, table["chance_low"], table["chance_high"], color=CHANCE, linewidth=0, label="shuffled, 95 %")
    ax.plot(x, table["ari"], color=MATCH, marker="o", markersize=3.5, label="tree and ontology")
    ax.set_xticks(x, [f"{d}\n({n})" for d, n in zip(table["depth"], table["n_clusters"], strict=True)])
    ax.set_xlim(-0.4, len(table) - 0.6)
    ax.set_ylim(min(-0.3, np.nanmin(table[["ari", "chance_low"]].to_numpy()) - 0.05), 1.05)
    ax.set(xlabel="Depth of the ontology (number of terms)", ylabel="Adjusted Rand index")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, columnspacing=1)

"""Plot a tree of cell types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import CHANCE, MATCH, MM, category_colors, finish, get_panels, get_result, style, wrap
from univerce.pl._parts import Labels, fit_labels, mark, row_width

_VIEWS = ("both", "tree", "ari")
_LINE = 2.9 * MM
_MAX_TERMS = 10  # clearly different colors
_MAX_TICKS = 7


@document
def dendrogram(
    adata: ad.AnnData,
    *,
    view: Literal["both", "tree", "ari"] | None = None,
    depth: int | None = None,
    key: str = "uce_dendrogram",
    palette: str | Sequence[str] | Mapping[str, str] | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Plot the tree of cell types, and its agreement with an ontology.

    The root is on the left, and the position of a merge is its distance. With an ontology, a mark at each leaf shows
    the term of the type at ``depth``. The second panel is the adjusted Rand index at each depth, with the 95 % interval
    of shuffled types.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.dendrogram`.
    view
        ``"tree"``, ``"ari"`` or ``"both"``; ``None`` is both if an ontology was compared and ``ax`` is not given.
    depth
        Depth of the ontology for the marks; ``None`` is the deepest one with at most ten terms.
    key
        Key of the result in ``uns``. That of :func:`scanpy.tl.dendrogram` is drawn too.
    palette
        Colors of the terms: the name of a color map, colors in their order, or a mapping from their names; ``None``
        are those that scanpy chooses.
    %(title, figsize, ax, show, return_fig, drawn)s
    ValueError
        If ``view`` is unknown or needs an ontology, ``depth`` is not in the result, or ``ax`` is given for both views.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    %(types)s
    >>> uc.tl.dendrogram(adata, "cell_type", ontology="CL", ontology_ids=types)
    >>> axes = uc.pl.dendrogram(adata, show=False)
    >>> len(axes)
    2
    """
    found = get_result(adata, key, made_by="uc.tl.dendrogram", needs=("dendrogram_info", "categories_ordered"))
    table: pd.DataFrame | None = found.get("table")
    if view is None:
        view = "both" if table is not None and ax is None else "tree"
    if view not in _VIEWS:
        raise ValueError(f"view={view!r} is not known; use one of {', '.join(map(repr, _VIEWS))}.")
    if table is None and (view != "tree" or depth is not None):
        raise ValueError(
            f"adata.uns[{key!r}] has no comparison with an ontology. Call uc.tl.dendrogram with ontology= and "
            'ontology_ids=, or pass view="tree".'
        )
    terms = None if table is None else _terms_at(table, found["terms"], depth)

    with style():
        labels = fit_labels(found["categories_ordered"], least=3 * MM)
        n_entries = 0 if terms is None else terms.nunique() + 1
        width = row_width(labels, 70 * MM)
        ncols = 1 if terms is None else max(1, int(width / (MM * (6 + 1.2 * max(map(len, terms.dropna()), default=0)))))
        height = labels.extent + 17 * MM + -(-n_entries // ncols) * _LINE
        heights = {"tree": [height], "ari": [42 * MM], "both": [height, 40 * MM]}[view]
        size = figsize or (width, sum(heights))
        figure, axes = get_panels(ax, size, len(heights), columns=1, height_ratios=heights)
        if view != "ari":
            _draw_tree(axes[0], found, labels)
            _add_terms(axes[0], found, terms, palette, ncols)
        if table is not None and view != "tree":
            _draw_ari(axes[-1], table)
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)


def _terms_at(table: pd.DataFrame, terms: pd.DataFrame, depth: int | None) -> pd.Series:
    if depth is None:
        few = table[table["n_clusters"] <= _MAX_TERMS]
        depth = int((few if len(few) else table.iloc[:1])["depth"].max())
    if str(depth) not in terms:
        raise ValueError(f"depth={depth!r} is not in the result; choose from {', '.join(terms.columns)}.")
    return terms[str(depth)].astype(str).rename(f"Ontology, depth {depth}")


def _draw_tree(ax: Axes, found: Mapping[str, Any], labels: Labels) -> None:
    info = found["dendrogram_info"]
    for places, heights in zip(np.array(info["icoord"]), np.array(info["dcoord"]), strict=True):
        ax.plot(heights, places, color="#555555", linewidth=0.8, solid_capstyle="projecting")
    at = np.arange(5, 10 * len(labels.texts), 10)
    top = float(np.max(info["dcoord"])) or 1.0  # all types at one point
    ax.set_xlim(1.03 * top, -0.04 * top)
    ax.set_ylim(10 * len(labels.texts), 0)
    ax.yaxis.tick_right()
    ax.set_yticks(at, labels.texts, size=labels.size)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("1 - correlation" if "metric" not in found else "Distance")


def _add_terms(
    ax: Axes,
    found: Mapping[str, Any],
    terms: pd.Series | None,
    palette: str | Sequence[str] | Mapping[str, str] | None,
    ncols: int,
) -> None:
    if terms is None:
        return
    names = found["categories_ordered"]
    colors = category_colors(list(dict.fromkeys(terms.reindex(names).dropna())), palette)
    look: dict[str, Any] = {"marker": "o", "markersize": 4, "clip_on": False}
    for i, name in enumerate(names):
        if name in terms.index:
            ax.plot(0, 10 * i + 5, zorder=3, linestyle="none", color=colors[terms[name]], **look)
    handles = [mark(wrap([term], 70)[0], color=color, **look) for term, color in colors.items()]
    ax.legend(
        handles=handles, title=terms.name, title_fontsize=7, alignment="left", loc="lower left",
        bbox_to_anchor=(-0.02, 1), ncols=ncols, columnspacing=1, handletextpad=0.2,
    )  # fmt: skip


def _draw_ari(ax: Axes, table: pd.DataFrame) -> None:
    x = np.arange(len(table))
    if table["chance"].notna().all():
        ax.fill_between(x, table["chance_low"], table["chance_high"], color=CHANCE, linewidth=0, label="shuffled types")
    ax.plot(x, table["ari"], color=MATCH, marker="o", markersize=3.5, label="tree and ontology")
    ticks = [f"{d}\n({n})" for d, n in zip(table["depth"], table["n_clusters"], strict=True)]
    step = -(-len(x) // _MAX_TICKS)
    ax.set_xticks(x[::step], ticks[::step])
    ax.set_xlim(-0.4, len(table) - 0.6)
    ax.set_ylim(min(-0.3, np.nanmin(table[["ari", "chance_low"]].to_numpy()) - 0.05), 1.05)
    ax.set_xlabel("Depth of the ontology (number of terms)", loc="left")
    ax.set_ylabel("Adjusted Rand index")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, columnspacing=1)

"""Plot the alignment of cell types to a reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import DOUBLE, finish, get_axes, get_result, style
from univerce.pl._shares import Series, by_representation, draw_shares, shares_size
from univerce.pl.alignment._heatmap import draw_heatmap, heatmap_size

View = Literal["both", "types", "scores"]
_AMONG = {"either": "of both data sets", "cross": "of the reference"}


@document
def centroid_alignment(
    adata: ad.AnnData,
    *,
    view: View = "both",
    representation: str | None = None,
    tissue_name: str | None = None,
    score: Literal["either", "cross"] = "either",
    k: int | None = None,
    key: str = "centroid_alignment",
    cmap: str | Colormap | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Plot the nearest types of the reference, and the scores with baseline and chance.

    The heat map has a row per type of the query and a column per type of the reference; darker is closer. The nearest
    type of the reference has a blue disc if it is the same type, an orange cross if it is another, and a black plus if
    the reference lacks the type. Squares mark the same type. With several tissues the distance is their mean, and the
    size of a mark is the share of tissues. Types found on one side only come last.

    Bars are the scores. The line on a bar is the 95 % interval of shuffled types, its tick their mean.

    Parameters
    ----------
    adata
        Query, after :func:`univerce.tl.centroid_alignment`.
    view
        ``"types"`` for the heat map, ``"scores"`` for the bars, ``"both"`` side by side.
    representation
        Representation of the heat map: the embedding (``None``) or the baseline.
    tissue_name
        Tissue of the heat map; ``None`` for all of them.
    score, k
        Score of the bars of each tissue; ``None`` is the largest ``k``. Without tissues, all scores are drawn.
    %(cmap, figure, drawn)s
    ValueError
        If ``view``, ``representation``, ``tissue_name``, ``score`` or ``k`` is not in the result, or ``ax`` is given
        for both views.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> query, reference = adata[::2].copy(), adata[1::2].copy()
    >>> _ = uc.tl.centroid_alignment(query, reference)
    >>> axes = uc.pl.centroid_alignment(query, show=False)
    >>> len(axes)
    2
    """
    found = get_result(adata, key, made_by="uc.tl.centroid_alignment", needs=("table", "pairs", "params"))
    scores, pairs = found["table"], found["pairs"]
    _choose(view, get_args(View), "view")
    if view == "both" and ax is not None:
        raise ValueError('ax= takes one view; pass view="types" or view="scores".')
    name = _choose(representation, scores["representation"].unique(), "representation")
    pairs = pairs[pairs["representation"] == name]
    if tissue_name is not None:
        pairs = pairs[pairs["tissue"] == _choose(tissue_name, pairs["tissue"].unique(), "tissue_name")]
    scores = scores[scores["score"] != "mixing"]
    _choose(score, scores["score"].unique(), "score")
    k = int(scores["k"].max()) if k is None else int(_choose(k, scores["k"].unique().tolist(), "k"))
    series, names, label = _bars(scores, score, k)

    with style():
        sizes = {"types": heatmap_size(pairs), "scores": shares_size(series, names)}
        if view == "both":
            figure, axes = _side_by_side(list(sizes.values()), figsize)
        else:
            figure, one = get_axes(ax, *(figsize or sizes[view]))
            axes = np.array([one])
        if view != "scores":
            draw_heatmap(axes[0], pairs, name, cmap)
        if view != "types":
            draw_shares(axes[-1], series, names, label=label, chance="shuffled types")
        return finish(
            figure, axes if view == "both" else axes[0], own=ax is None, title=title, show=show, return_fig=return_fig
        )


def _choose(value: Any, among: Iterable[Any], name: str) -> Any:
    """Return the value, or the first one for ``None``."""
    among = list(among)
    if value is not None and value not in among:
        raise ValueError(f"{name}={value!r} is not in the result; choose from {', '.join(map(repr, among))}.")
    return among[0] if value is None else value


def _bars(scores: pd.DataFrame, score: str, k: int) -> tuple[list[Series], list[str], str]:
    """Bars of each representation, their names, and the label of the axis."""
    if scores["tissue"].nunique() > 1:
        scores = scores[(scores["score"] == score) & (scores["k"] == k)]
        names = scores["tissue"].astype(str)
        label = f"Types with a match in the top {k}\n{_AMONG[score]} (%)"
    else:
        names = "top " + scores["k"].astype(str) + " " + scores["score"].map(_AMONG).astype(str)
        label = "Types with a match in the top k (%)"
    return by_representation(scores), list(dict.fromkeys(names)), label


def _side_by_side(parts: Sequence[tuple[float, float]], size: tuple[float, float] | None) -> tuple[Figure, np.ndarray]:
    """Create a figure of two independent parts: side by side if they fit a page, else below each other."""
    import matplotlib.pyplot as plt

    (left, upper), (right, lower) = parts
    beside = left + right <= DOUBLE
    figure = plt.figure(
        figsize=size or ((left + right, max(upper, lower)) if beside else (max(left, right), upper + lower)),
        layout="constrained",
    )
    if beside:
        first, second = figure.subfigures(1, 2, squeeze=False, width_ratios=[left, right])[0]
        if lower < upper:
            second = second.subfigures(2, 1, squeeze=False, height_ratios=[lower, upper - lower])[0, 0]
    else:
        first, second = figure.subfigures(2, 1, squeeze=False, height_ratios=[upper, lower])[:, 0]
    return figure, np.array([first.subplots(), second.subplots()])

"""Draw which type lands on which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd

from univerce.pl._figure import (
    BASELINE,
    DOUBLE,
    MATCH,
    MM,
    SINGLE,
    finish,
    get_axes,
    get_result,
    style,
    wrap,
)
from univerce.pl.alignment._landing import draw_types

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

View = Literal["both", "types", "scores"]
_LINE = 2.9 * MM
_AMONG = {"either": "of both data sets", "cross": "of the reference"}


def centroid_alignment(
    adata: ad.AnnData,
    *,
    view: View = "both",
    representation: str | None = None,
    tissue: str | None = None,
    score: Literal["either", "cross"] = "either",
    k: int | None = None,
    key: str = "centroid_alignment",
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Draw which type of the query lands on which type of the reference, and the scores beside baseline and chance.

    In the heat map a row is a type of the query and a column one of the reference; the darker, the nearer the
    centroids. The nearest type of the reference is marked: with a blue disc when it is the same one, an orange cross
    when it is another, and a black plus when the reference has no such type. A square is where the same type is. With
    several tissues the distance is the mean over them, and a mark is as large as the share of tissues in which it
    holds. Types that only one side has come last.

    The bars are the scores. The line across a bar is the 95 % interval that shuffled labels give, its tick their mean.

    Parameters
    ----------
    adata
        The query, after :func:`univerce.tl.centroid_alignment`.
    view
        ``"types"`` is the heat map, ``"scores"`` the bars, ``"both"`` the two side by side.
    representation
        Of the heat map: the embedding (``None``) or the baseline, by the name they have in the table.
    tissue
        Draw one tissue in the heat map; ``None`` draws all of them.
    score, k
        Which score the bars show for each tissue; ``None`` is the largest ``k``. Without tissues the bars show every
        score and ``k``.
    key
        Where the results are in ``uns``.
    figsize
        Inches; ``None`` is as wide as a page (one column for one view) and as high as the labels need.
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
        When ``view``, ``representation``, ``tissue``, ``score`` or ``k`` is not among the results, or ``ax`` is given
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
    found = get_result(adata, key, made_by="uc.tl.centroid_alignment", needs=("scores", "pairs", "params"))
    scores, pairs = found["scores"], found["pairs"]
    _choose(view, get_args(View), "view")
    if view == "both" and ax is not None:
        raise ValueError('ax= takes one view; pass view="types" or view="scores" as well.')
    name = _choose(representation, scores["representation"].unique(), "representation")
    pairs = pairs[pairs["representation"] == name]
    if tissue is not None:
        pairs = pairs[pairs["tissue"] == _choose(tissue, pairs["tissue"].unique(), "tissue")]
    scored = scores[scores["score"] != "mixing"]
    _choose(score, scored["score"].unique(), "score")
    k = int(scored["k"].max()) if k is None else int(_choose(k, scored["k"].unique().tolist(), "k"))
    rows = _score_rows(scored, score, k)

    with style():
        widths, heights = _sizes(view, pairs, rows)
        size = figsize or (sum(widths), max(heights))
        if view == "both":
            figure, axes = _side_by_side(size, widths, heights[1])
        else:
            figure, one = get_axes(ax, *size)
            axes = np.array([one])
        if view != "scores":
            draw_types(axes[0], pairs, name)
        if view != "types":
            _draw_scores(axes[-1], rows)
        return finish(figure, axes if view == "both" else axes[0], own=ax is None, show=show, return_fig=return_fig)


def _side_by_side(size: tuple[float, float], widths: list[float], height: float) -> tuple[Figure, np.ndarray]:
    """A figure of two parts that do not squeeze each other; the right one stands at the top, so many inches high."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=size, layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=widths)[0]
    if size[1] > height:
        right = right.subfigures(2, 1, squeeze=False, height_ratios=[height, size[1] - height])[0, 0]
    return figure, np.array([left.subplots(), right.subplots()])


def _choose(value: Any, among: Any, name: str) -> Any:
    """The value, or the first there is when it is ``None``."""
    among = list(among)
    if value is not None and value not in among:
        raise ValueError(f"{name}={value!r} is not among the results; choose from {', '.join(map(repr, among))}.")
    return among[0] if value is None else value


def _sizes(view: View, pairs: pd.DataFrame, rows: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Widths and heights of the parts, that leave room for every label."""
    here, there = (_extent(pairs[side].unique()) for side in ("query", "reference"))
    types = (max(here[1] + there[0] + 25 * MM, SINGLE), there[1] + here[0] + 22 * MM)
    n_rows, n_titles = len(rows.drop_duplicates(["title", "label"])), rows["title"].nunique()
    scores = (max(_extent(rows["label"].unique())[1] + 45 * MM, 55 * MM), (2.6 * n_rows + 3 * n_titles + 5) * _LINE)
    parts = {"both": [types, scores], "types": [types], "scores": [scores]}[view]
    widths, heights = [width for width, _ in parts], [max(40 * MM, height) for _, height in parts]
    least = DOUBLE if view == "both" else SINGLE
    return [widths[0] + max(0, least - sum(widths)), *widths[1:]], heights


def _extent(labels: Iterable[object]) -> tuple[float, float]:
    """Inches across the lines of all labels, and along the longest line."""
    lines = [label.split("\n") for label in wrap(labels)]
    most = max((len(label) for label in lines), default=1)
    return len(lines) * most * _LINE, max((len(line) for label in lines for line in label), default=0) * 1.25 * MM


def _score_rows(scored: pd.DataFrame, score: str, k: int) -> pd.DataFrame:
    """The rows to draw, with a ``title`` for the block and a ``label`` each."""
    if scored["tissue"].nunique() > 1:
        chosen = scored[(scored["score"] == score) & (scored["k"] == k)]
        title: Any = f"{'Nearest' if k == 1 else f'Among the {k} nearest'}\n{_AMONG[score]}"
        return chosen.assign(title=title, label=chosen["tissue"])
    title = "Among the k nearest\n" + scored["score"].map(_AMONG).astype(str)
    return scored.assign(title=title, label="k = " + scored["k"].astype(str))


def _draw_scores(ax: Axes, rows: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = list(rows["representation"].unique())
    ticks: list[float] = []
    labels: list[str] = []
    y = 0.0
    for title, block in rows.groupby("title", sort=False):
        ax.text(0, y, str(title), weight="bold", va="bottom", ha="left")
        y += 0.7
        for label, group in block.groupby("label", sort=False):
            ticks.append(y)
            labels.append(str(label))
            for _, row in group.iterrows():
                place = names.index(row["representation"])
                _bar(ax, y + 0.38 * (place - (len(names) - 1) / 2), row, (MATCH, BASELINE)[place])
            y += 1
        y += 1.1
    ax.set_yticks(ticks, wrap(labels))
    ax.set_ylim(y - 1.4, -1.2)
    ax.set_xlim(0, 1.2)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    ax.set_xlabel("Types that find their own, %")
    ax.tick_params(axis="y", length=0)
    handles: list[Any] = [Patch(color=c, label=n) for n, c in zip(names, (MATCH, BASELINE), strict=False)]
    if rows["chance"].notna().any():
        handles.append(Line2D([], [], color="black", linewidth=0.8, marker="|", markersize=4, label="shuffled"))
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1),
        ncols=3,
        columnspacing=0.6,
        handletextpad=0.3,
        handlelength=0.9,
    )


def _bar(ax: Axes, y: float, row: pd.Series, color: str) -> None:
    if row["n"] == 0:
        ax.text(0.01, y, "no type in both", va="center", size=6, color="#555555")
        return
    ax.barh(y, row["share"], height=0.34, color=color)
    if np.isfinite(row["chance"]):
        ax.plot([row["chance_low"], row["chance_high"]], [y, y], color="black", linewidth=0.8)
        ax.plot(row["chance"], y, color="black", marker="|", markersize=4, markeredgewidth=0.8)
    ax.text(1.02, y, f"{row['hits']:.0f}/{row['n']:.0f}", va="center", size=6)

"""Plot scores of label transfer between data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from univerce._docs import document
from univerce.pl._figure import BASELINE, DOUBLE, MM, SEQUENTIAL, finish, get_axes, get_cmap, style, text_color, wrap
from univerce.pl._parts import fit_labels

_COLUMN, _LEFT, _AROUND, _LINE = 22 * MM, 55 * MM, 26 * MM, 4 * MM
_FEW: dict[str, Any] = {"least": 5.2 * MM, "width": 44}  # rows
_MANY: dict[str, Any] = {"least": 4.2 * MM, "width": 58}


@document
def transfer_table(
    scores: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    metric: str = "logistic accuracy",
    published: pd.DataFrame | None = None,
    cmap: str | Colormap | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot one score of every method for each pair of data sets, as means over the seeds.

    Published scores are shown below a line, in gray italics. They were measured on other data and cannot be compared
    with the rows above.

    Parameters
    ----------
    scores
        Scores of :func:`univerce.bench.run_transfer`, or a mapping from the names of the pairs to them. Concatenated
        scores have the names in a column ``pair``.
    metric
        Score to plot, such as ``"logistic accuracy"``.
    published
        Published scores to add: rows of :func:`univerce.bench.published`.
    %(cmap, title, figsize, ax, show, return_fig)s

    Returns
    -------
    The axes, or the figure with ``return_fig``; ``None`` if the figure was shown.

    Raises
    ------
    TypeError
        If the scores are not tables.
    ValueError
        If the metric is not among the scores, or they are of several pairs without names.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> one, other = adata[::2].copy(), adata[1::2].copy()
    >>> options = {"groupby": "cell_type", "methods": ["UCE", "PCA", "HVG"], "seeds": [0], "n_bootstrap": 10}
    >>> forth, back = uc.bench.run_transfer(other, one, **options), uc.bench.run_transfer(one, other, **options)
    >>> uc.pl.transfer_table({"one half to the other": forth, "and back": back}, show=False)
    <Axes: ...>
    """
    if isinstance(scores, Mapping):
        scores = pd.concat([table.assign(pair=name) for name, table in scores.items()])
    elif not isinstance(scores, pd.DataFrame):
        raise TypeError(f"scores is a {type(scores).__name__}; pass the tables that uc.bench.run_transfer returns.")
    elif "pair" not in scores:
        if scores.duplicated(["method", "metric", "group", "seed"]).any():
            raise ValueError(
                "The scores are of several pairs, whose mean has no meaning: pass a mapping from names to scores."
            )
        scores = scores.assign(pair="query")
    mine = scores[(scores["metric"] == metric) & (scores["group"] == "all")]
    if mine.empty:
        known = ", ".join(map(repr, scores["metric"].unique()))
        raise ValueError(f"metric={metric!r} is not among the scores; there are {known}.")
    wide = mine.pivot_table(index="pair", columns="method", values="value", sort=False)
    wide = wide[wide.mean().sort_values(ascending=False, kind="stable").index]
    below = [] if published is None else list(published.itertuples(index=False))
    n_rows = len(wide) + len(below) + (1.2 if below else 0)
    with style():
        colors = get_cmap(cmap, SEQUENTIAL)
        labels = fit_labels([*wide.index, *(row.data for row in below)], **_MANY if n_rows > 25 else _FEW)
        width = DOUBLE if below else min(DOUBLE, _LEFT + wide.shape[1] * _COLUMN)
        heads = wrap(wide.columns, 16)
        height = _AROUND + _LINE * max(head.count("\n") for head in heads) + n_rows * labels.pitch
        figure, axes = get_axes(ax, *(figsize or (width, height)))
        for (row, column), value in np.ndenumerate(wide.to_numpy(float)):
            if np.isnan(value):
                axes.text(column, row, "–", ha="center", va="center", color=BASELINE)
                continue
            color = colors(float(np.clip(value, 0, 1)))
            axes.add_patch(Rectangle((column - 0.48, row - 0.45), 0.96, 0.9, color=color, linewidth=0))
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=text_color(color))
        places = list(np.arange(len(wide), dtype=float))
        if below:
            at = len(wide) + 0.2
            look: dict[str, Any] = {"va": "center", "color": "#666666", "style": "italic"}
            axes.axhline(at - 0.3, color=BASELINE, linewidth=0.6)
            axes.text(-0.48, at + 0.15, "Published, not measured; other data", **look)
            for i, row in enumerate(below):
                axes.text(-0.48, at + 1 + i, f"{row.method}: {row.text}", **look)
                places.append(at + 1 + i)
        axes.set_yticks(places, labels.texts, size=labels.size)
        axes.set_xticks(range(wide.shape[1]), heads, rotation=35, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlim=(-0.5, wide.shape[1] - 0.5), ylim=(n_rows - 0.4, -0.6))
        axes.set_xlabel(f"{metric}, mean over seeds", loc="right")
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

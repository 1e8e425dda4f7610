"""Plot the scores of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import (
    BASELINE,
    DOUBLE,
    MATCH,
    MM,
    SEQUENTIAL,
    SINGLE,
    finish,
    get_axes,
    get_cmap,
    get_result,
    style,
    text_color,
)
from univerce.pl._parts import fit_labels, mark
from univerce.pl.bench._benchmark import is_control, marked, means_over_seeds, ranked, trained_on

COLUMNS: Final = {
    "bio conservation": ("Isolated labels", "KMeans NMI", "KMeans ARI", "Silhouette label", "cLISI"),
    "batch correction": ("BRAS", "iLISI", "KBET", "Graph connectivity", "PCR comparison"),
    "scIB": ("Bio conservation", "Batch correction", "Total"),
    "labels": ("kNN accuracy", "transfer kNN accuracy", "transfer logistic accuracy", "alignment top 1"),
    "relations": ("scGraph Corr-Weighted",),
}
_BARS = set(COLUMNS["scIB"])
_SHORT = {
    "transfer kNN accuracy": "kNN, other batch",
    "transfer logistic accuracy": "logistic, other batch",
    "kNN accuracy": "kNN, within",
    "alignment top 1": "centroids, other batch",
    "scGraph Corr-Weighted": "scGraph",
}
_WIDE = 2.7  # width of a total, of which a bar takes 0.9 and its number the rest
_ROW, _LOW, _COLUMN, _AROUND = 5.2 * MM, 4 * MM, 9 * MM, 40 * MM


@document
def benchmark_table(
    adata: ad.AnnData,
    key: str = "benchmark",
    *,
    sort_by: str = "Total",
    metrics: Sequence[str] | None = None,
    cmap: str | Colormap | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the scores of each method as scIB does: a disc for each metric, a bar for each total.

    Numbers are means over the seeds, with the standard deviation for totals. Colors are scaled within a column. Methods
    are sorted, with controls at the bottom. ``*`` marks methods that saw the labels, ``†`` methods that were trained on
    the data sets that are listed.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.bench.run`.
    %(key)s
    sort_by
        Metric to sort by; if it was not computed (one batch), the accuracy of neighbors.
    metrics
        Metrics to draw; ``None`` for all.
    %(cmap, title, figsize, ax, show, return_fig, drawn)s
    ValueError
        If a metric was not computed.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> options = {"methods": ["UCE", "PCA", "HVG", "random"], "seeds": [0], "scib": False}
    >>> _ = uc.bench.run(adata, groupby="cell_type", batch_key="phase", **options)
    >>> uc.pl.benchmark_table(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.bench.run", needs=("table", "runs", "params"))
    mean, spread = means_over_seeds(found["table"])
    kinds = _kinds(mean, metrics)
    columns = [name for names in kinds.values() for name in names]
    by = sort_by if sort_by in mean and mean[sort_by].notna().any() else "kNN accuracy"
    if by not in mean:
        raise ValueError(f"sort_by={sort_by!r} was not computed; there are {', '.join(map(repr, mean.columns))}.")
    control, names = is_control(found["runs"]), marked(found["runs"])
    order = ranked(mean[by], control)
    n_methods = sum(not control.get(name, False) for name in order)
    with style():
        x, colors = _places(kinds), get_cmap(cmap, SEQUENTIAL)
        labels = fit_labels([names[name] for name in order], least=_ROW if len(order) <= 25 else _LOW, width=36)
        width = min(DOUBLE, labels.length + _COLUMN * (max(x.values()) + 3))
        figure, axes = get_axes(ax, *(figsize or (max(SINGLE, width), _AROUND + (len(order) + 0.5) * labels.pitch)))
        for row, (name, label) in enumerate(zip(order, labels.texts, strict=True)):
            y = row + 0.4 * (row >= n_methods)
            look: dict[str, Any] = {"style": "italic"} if control.get(name) else {}
            axes.text(-0.6, y, label, ha="right", va="center", size=labels.size, **look)
            if mean.loc[name].isna().all():
                axes.text(x[columns[0]] - 0.4, y, "failed", va="center", color=BASELINE)
                continue
            for column in columns:
                value, deviation = float(mean[column][name]), float(spread[column][name])
                if np.isnan(value):
                    axes.text(x[column], y, "–", ha="center", va="center", color=BASELINE)
                elif column in _BARS:
                    _draw_bar(axes, x[column], y, value, deviation)
                else:
                    _draw_disc(axes, x[column], y, value, mean[column], colors)
        _head(axes, kinds, x)
        last = len(order) - 1 + 0.4 * (n_methods < len(order))
        if 0 < n_methods < len(order):
            axes.axhline(n_methods - 0.3, color=BASELINE, linewidth=0.6, xmin=0)
        axes.set(xlim=(-0.7, max(x.values()) + 1.1), ylim=(last + 0.6, -0.7), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if not _BARS.issuperset(columns):
            _add_scale(axes, colors)
        axes.annotate(
            _caption(found["params"], spread, names, found["runs"]), (0, 0), (0, -14), xycoords="axes fraction",
            textcoords="offset points", va="top", size=5.5, color="#444444", wrap=True,
        )  # fmt: skip
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)


def _kinds(mean: pd.DataFrame, metrics: Sequence[str] | None) -> dict[str, list[str]]:
    if metrics is None:
        kept = {kind: [m for m in names if m in mean and mean[m].notna().any()] for kind, names in COLUMNS.items()}
        return {kind: names for kind, names in kept.items() if names}
    unknown = [m for m in metrics if m not in mean]
    if unknown:
        raise ValueError(f"{unknown[0]!r} was not computed; there are {', '.join(map(repr, mean.columns))}.")
    return {"": list(metrics)}


def _places(kinds: dict[str, list[str]]) -> dict[str, float]:
    """Where each column is, totals wider than metrics, a gap between kinds."""
    at, places = 0.0, {}
    for names in kinds.values():
        for name in names:
            width = _WIDE if name in _BARS else 1.0
            places[name] = at + (width - 1) / 2
            at += width
        at += 0.35
    return places


def _draw_bar(ax: Axes, x: float, y: float, value: float, spread: float) -> None:
    left = x - _WIDE / 2 + 0.05
    ax.barh(y, 0.9 * np.clip(value, 0, 1), left=left, height=0.62, color=MATCH, alpha=0.75, linewidth=0)
    text = f"{value:.2f}" + (f" ±{spread:.2f}".replace("0.", ".") if not np.isnan(spread) else "")
    ax.text(left + 0.95, y, text, ha="left", va="center", size=5.5)


def _draw_disc(ax: Axes, x: float, y: float, value: float, column: pd.Series, colors: Colormap) -> None:
    low, high = column.min(), column.max()
    share = 0.5 if high <= low else (value - low) / (high - low)
    ax.plot(x, y, "o", markersize=10.5, color=colors(share), markeredgewidth=0)
    text = f"{value:.2f}".replace("0.", ".")
    ax.text(x, y, text, ha="center", va="center", size=5.5, color=text_color(colors(share)))


def _add_scale(ax: Axes, colors: Colormap) -> None:
    """Say what the colors of the discs are, below the table."""
    look: dict[str, Any] = {"marker": "o", "markersize": 4.5}
    handles = [mark(name, color=colors(x), **look) for name, x in (("lowest", 0.0), ("highest of a column", 1.0))]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=0, ncols=2, columnspacing=1,
        handletextpad=0.2, fontsize=5.5,
    )  # fmt: skip


def _head(ax: Axes, kinds: dict[str, list[str]], x: dict[str, float]) -> None:
    transform = ax.get_xaxis_transform()
    for names in kinds.values():
        left, right = (
            x[name] + side * (_WIDE / 2 if name in _BARS else 0.4) for name, side in ((names[0], -1), (names[-1], 1))
        )
        ax.plot([left, right], [1.005, 1.005], color="black", linewidth=0.6, transform=transform, clip_on=False)
        for name in names:
            ax.annotate(
                _SHORT.get(name, name), (x[name], 1.01), (0, 2), xycoords=transform, textcoords="offset points",
                rotation=50, rotation_mode="anchor", ha="left", va="bottom", size=6, annotation_clip=False,
            )  # fmt: skip


def _caption(params: Any, spread: pd.DataFrame, names: dict[str, str], runs: pd.DataFrame) -> str:
    counts = params["n_cells"]
    text = f"{int(counts['scored']):,} cells scored, {int(params['n_vars']):,} genes ({params['features']})"
    left = {k: int(v) for k, v in counts.items() if k != "scored" and int(v)}
    text += f"; not scored: {', '.join(f'{v:,} {k}' for k, v in left.items())}" if left else ""
    text += "; ± sd over seeds" if spread.notna().any(axis=None) else ""
    text += "; * saw the labels" if any(" *" in n for n in names.values()) else ""
    ids = dict.fromkeys(trained_on(runs)["has_seen"])
    return text + (f"; † was trained on {'; '.join(ids)}" if ids else "")

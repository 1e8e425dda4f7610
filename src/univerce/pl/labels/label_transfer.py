"""Draw the calibration of a label transfer."""

from __future__ import annotations

from typing import Any, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce._keys import CELL_TYPE_TRANSFERRED, UNKNOWN
from univerce.pl._figure import (
    BASELINE,
    CHANCE,
    DOUBLE,
    MATCH,
    MISMATCH,
    MM,
    SINGLE,
    finish,
    get_axes,
    get_result,
    new_figure,
    style,
)

View = Literal["both", "reliability", "risk_coverage"]
_HEIGHT = 85 * MM


@document
def label_transfer(
    adata: ad.AnnData,
    key: str = CELL_TYPE_TRANSFERRED,
    *,
    view: View = "both",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | np.ndarray | None:
    """Plot the reliability of confidences, and the accuracy by the share of labeled cells.

    Both are computed on held-out cells of the reference, at the assumed shares of the labels. In the reliability
    diagram, a disc is a bin of calibrated confidence with its 95 % interval (Wilson); on the dashed line confidence
    equals accuracy. The bars are the share of cells in each bin. The risk-coverage curve is the accuracy if only the
    most confident cells get a label. The diamond is the threshold, the dotted line the share of labeled cells of
    ``adata``.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.transfer_labels`.
    key
        The ``key_added`` of that call, by default ``f"{groupby}_transferred"``.
    view
        ``"reliability"``, ``"risk_coverage"``, or ``"both"`` side by side.
    %(title)s
    figsize
        Size in inches; ``None`` is the width of a page, or of a column for one view.
    ax
        Axes to draw into, for one view.
    %(show, return_fig)s

    Returns
    -------
    ``None`` if the figure was shown, otherwise the axes (two for ``view="both"``), or the figure with ``return_fig``.

    Raises
    ------
    KeyError
        If the results are not in ``uns``.
    ValueError
        If ``view`` is unknown, or ``ax`` is given for both views.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> query, reference = adata[::2].copy(), adata[1::2].copy()
    >>> uc.tl.transfer_labels(query, reference, groupby="cell_type", threshold={"accuracy": 0.9})
    >>> axes = uc.pl.label_transfer(query, show=False)
    >>> len(axes)
    2
    """
    found = get_result(
        adata, key, made_by="uc.tl.transfer_labels", needs=("params", "scores", "reliability", "risk_coverage")
    )
    if view not in get_args(View):
        raise ValueError(f"view={view!r} is not known; use one of {', '.join(get_args(View))}.")
    if view == "both" and ax is not None:
        raise ValueError('ax= takes one view; pass view="reliability" or view="risk_coverage" too.')
    with style():
        width, height = figsize or (DOUBLE if view == "both" else SINGLE, _HEIGHT)
        if view == "both":
            figure, axes = new_figure(width, height, ncols=2)
        else:
            figure, one = get_axes(ax, width, height)
            axes = np.array([one])
        if view != "risk_coverage":
            _draw_reliability(axes[0], found["reliability"], found["scores"])
        if view != "reliability":
            params = found["params"]
            _draw_risk_coverage(axes[-1], found["risk_coverage"], params, found["scores"], _kept(adata, key, params))
        return finish(
            figure, axes if view == "both" else axes[0], own=ax is None, title=title, show=show, return_fig=return_fig
        )


def _draw_reliability(ax: Axes, table: pd.DataFrame, scores: Any) -> None:
    from statsmodels.stats.proportion import proportion_confint

    low, high = table["low"].to_numpy(), table["high"].to_numpy()
    middle, width = (low + high) / 2, 0.9 * (high - low)
    ax.bar(middle, table["share"], width=width, color=CHANCE, zorder=0, label="share of the cells")
    ax.plot([0, 1], [0, 1], color=BASELINE, linestyle=(0, (4, 3)), zorder=1, label="confidence = accuracy")
    full = table[table["n_cells"] > 0]
    n_cells = full["n_cells"].to_numpy()
    lower, upper = proportion_confint(full["accuracy"].to_numpy() * n_cells, n_cells, method="wilson")
    ax.vlines(full["confidence"], lower, upper, color=MATCH, linewidth=0.8, zorder=2)
    ax.plot(full["confidence"], full["accuracy"], "o", color=MATCH, markersize=4, zorder=3, label="held-out cells")
    ax.set(xlim=(0, 1), ylim=(0, 1.03), xlabel="Confidence", ylabel="Accuracy")
    ax.set_title(f"Calibration error {scores['ece_after']:.3f} ({scores['ece_before']:.3f} before calibration)")
    _legend_below(ax)


def _draw_risk_coverage(ax: Axes, curve: pd.DataFrame, params: Any, scores: Any, kept: float) -> None:
    ax.plot(curve["coverage"], curve["accuracy"], color=MATCH, label="held-out cells of the reference")
    threshold, bottom = float(params.get("threshold", np.nan)), float(curve["accuracy"].min())
    if np.isfinite(threshold):
        coverage, accuracy = float(scores["coverage_at_threshold"]), float(scores["accuracy_at_threshold"])
        text = f"threshold {threshold:.2f}: {coverage:.0%} labeled, {accuracy:.0%} of these correct"
        ax.plot(coverage, accuracy, "D", color=MISMATCH, markersize=5, label=text, clip_on=False, zorder=3)
    if np.isfinite(kept):
        ax.axvline(kept, color="black", linestyle=":", linewidth=0.9, label=f"these cells: {kept:.0%} labeled")
    bottom = max(0.0, np.floor(bottom * 20 - 0.5) / 20)
    ax.set(xlim=(0, 1.01), ylim=(bottom, 1 + 0.03 * (1 - bottom)))
    ax.set(xlabel="Share of labeled cells", ylabel="Accuracy of the labels")
    ax.set_title(f"Accuracy {scores['accuracy']:.2f}, macro-F1 {scores['macro_f1']:.2f} without rejection")
    _legend_below(ax)


def _legend_below(ax: Axes) -> None:
    """Below the axes, where it covers no curve."""
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.16), borderaxespad=0)


def _kept(adata: ad.AnnData, key: str, params: Any) -> float:
    """Share of labeled cells among those with an embedding, NaN without a threshold."""
    if key not in adata.obs or not np.isfinite(float(params.get("threshold", np.nan))):
        return np.nan
    written = adata.obs[key].dropna()
    return float((written != UNKNOWN).mean()) if len(written) else np.nan

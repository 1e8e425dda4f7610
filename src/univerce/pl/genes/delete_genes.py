"""Draw how far cells move without genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import anndata as ad
import numpy as np
import pandas as pd

from univerce.pl._figure import DIVERGING, MM, SEQUENTIAL, SINGLE, finish, get_axes, get_result, style, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Value = Literal["cosine_shift_expressing", "cosine_shift", "euclidean_shift", "toward"]
_CELL, _LEFT, _AROUND = 5 * MM, 52 * MM, 30 * MM
_DOT = 40.0
_LABELS = {
    "cosine_shift_expressing": "Mean shift (1 - cosine)\nof cells that express it",
    "cosine_shift": "Mean shift (1 - cosine)\nof all cells",
    "euclidean_shift": "Mean shift (Euclidean)\nof all cells",
}


def delete_genes(
    adata: ad.AnnData,
    key: str = "deleted",
    *,
    value: Value | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Draw a dot for each group of cells and each deletion: the larger, the more of the cells express a deleted gene.

    The color is how far cells move without the genes, or whether they move toward a direction.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.tl.delete_genes`.
    key
        Its ``key_added``.
    value
        Column of the means that the color shows; ``None`` is ``"toward"`` where there is a direction, and else
        ``"cosine_shift_expressing"``.
    figsize
        Inches; ``None`` makes room for every group and deletion.
    ax
        Draw into these axes.
    show
        Show the figure; ``None`` shows it unless ``ax`` is given.
    return_fig
        Return the figure.

    Returns
    -------
    ``None`` when the figure was shown, else the axes, or the figure with ``return_fig``.

    Raises
    ------
    KeyError
        When the results are not in ``uns``.
    ValueError
        When ``value`` is not among the means.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:40].copy()
    >>> _ = uc.tl.delete_genes(adata, ["CD79A", "CD3D"], groupby="cell_type")
    >>> uc.pl.delete_genes(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.tl.delete_genes", needs=("means", "params"))
    means = found["means"]
    known = [name for name in get_args(Value) if name in means]
    value = value or ("toward" if "toward" in known else "cosine_shift_expressing")
    if value not in known:
        raise ValueError(f"value={value!r} is not among the means; choose from {', '.join(map(repr, known))}.")
    table = means.assign(
        x=pd.factorize(means["deletion"])[0], y=pd.factorize(means["group"])[0],
        share=means["n_expressing"] / means["n_cells"].where(means["n_cells"] > 0),
    )  # fmt: skip
    columns, rows = (list(dict.fromkeys(table[name].astype(str))) for name in ("deletion", "group"))
    lines = sum(1 + 0.6 * text.count("\n") for text in wrap(rows))
    with style():
        own = ax is None
        size = (max(SINGLE, len(columns) * _CELL + _LEFT), max(lines * _CELL, 25 * MM) + _AROUND)
        figure, ax = get_axes(ax, *(figsize or size))
        drawn = table[table["share"].notna() & table[value].notna()]
        limit = float(drawn[value].abs().max()) if len(drawn) and drawn[value].any() else 1.0
        dots = ax.scatter(
            drawn["x"], drawn["y"], s=_DOT * drawn["share"], c=drawn[value].astype(float), linewidths=0.3,
            edgecolors="black", cmap=DIVERGING if value == "toward" else f"{SEQUENTIAL}_r",
            vmin=-limit if value == "toward" else 0, vmax=limit, clip_on=False,
        )  # fmt: skip
        ax.set_xticks(range(len(columns)), columns, rotation=90, fontstyle="italic")
        ax.set_yticks(range(len(rows)), wrap(rows))
        ax.tick_params(length=0)
        ax.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(rows) - 0.4, -0.6))
        ax.grid(color="#EEEEEE", linewidth=0.6)
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(dots, ax=ax, fraction=0.05, pad=0.02, aspect=12)
        toward = f"Mean change of the cosine\nwith {found['params']['toward'] or 'the direction'}"
        bar.set_label(_LABELS.get(value, toward))
        bar.outline.set_visible(False)
        _size_legend(ax)
        return finish(figure, ax, own=own, show=show, return_fig=return_fig)


def _size_legend(ax: Axes) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], linestyle="none", marker="o", color="white", markeredgecolor="black", markeredgewidth=0.3,
            markersize=np.sqrt(_DOT * share), label=f"{100 * share:.0f}",
        )
        for share in (0.1, 0.5, 1.0)
    ]  # fmt: skip
    ax.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, title="Cells that express it (%)",
        title_fontsize=6.5, columnspacing=0.8, handletextpad=0.2, borderaxespad=0.2,
    )  # fmt: skip

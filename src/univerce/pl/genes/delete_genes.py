"""Plot how far cells move without genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import anndata as ad

from univerce._docs import document
from univerce.pl._figure import DIVERGING, MM, SEQUENTIAL, SINGLE, finish, get_axes, get_result, style, wrap
from univerce.pl._parts import add_colorbar, add_legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Value = Literal["cosine_shift_expressing", "cosine_shift", "euclidean_shift", "toward"]
_CELL, _LEFT, _AROUND, _CHARACTER = 5 * MM, 52 * MM, 18 * MM, 1.3 * MM
_DOT = 40.0
_LABELS = {
    "cosine_shift_expressing": "Mean shift (1 - cosine)\nof expressing cells",
    "cosine_shift": "Mean shift (1 - cosine)\nof all cells",
    "euclidean_shift": "Mean shift (Euclidean)\nof all cells",
}


@document
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
    """Plot a dot per group of cells and deletion: size is the share of expressing cells, color the shift without them.

    Parameters
    ----------
    adata
        Annotated data, after :func:`univerce.tl.delete_genes`.
    %(key)s
    value
        Column of the table to color by; ``None`` is ``"toward"`` if there is a direction, else
        ``"cosine_shift_expressing"``.
    %(figsize, ax, show, return_fig)s
    %(drawn)s
    ValueError
        If ``value`` is not in the table.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:40].copy()
    >>> uc.tl.delete_genes(adata, ["CD79A", "CD3D"], groupby="cell_type")
    >>> uc.pl.delete_genes(adata, show=False)
    <Axes: ...>
    """
    result = get_result(adata, key, made_by="uc.tl.delete_genes", needs=("table", "params"))
    table = result["table"]
    known = [name for name in get_args(Value) if name in table]
    value = value or ("toward" if "toward" in known else "cosine_shift_expressing")
    if value not in known:
        raise ValueError(f"value={value!r} is not in the table; choose from {', '.join(map(repr, known))}.")
    columns, rows = (list(dict.fromkeys(table[name].astype(str))) for name in ("deletion", "group"))
    share = table["n_expressing"] / table["n_cells"].where(table["n_cells"] > 0)
    dots = table.assign(share=share)[share.notna() & table[value].notna()]
    x, y = (dots[name].astype(str).map(at.index) for name, at in (("deletion", columns), ("group", rows)))
    limit = float(dots[value].abs().max()) if dots[value].any() else 1.0
    lines = sum(1 + 0.6 * text.count("\n") for text in wrap(rows))
    with style():
        below = _CHARACTER * max(map(len, columns))
        size = (max(SINGLE, len(columns) * _CELL + _LEFT), max(lines * _CELL, 25 * MM) + below + _AROUND)
        figure, axes = get_axes(ax, *(figsize or size))
        toward = value == "toward"
        image = axes.scatter(
            x, y, s=_DOT * dots["share"], c=dots[value].astype(float), linewidths=0.3, edgecolors="black",
            cmap=DIVERGING if toward else f"{SEQUENTIAL}_r", vmin=-limit if toward else 0, vmax=limit, clip_on=False,
        )  # fmt: skip
        axes.set_xticks(range(len(columns)), columns, rotation=90, fontstyle="italic")
        axes.set_yticks(range(len(rows)), wrap(rows))
        axes.tick_params(length=0)
        axes.set(xlim=(-0.6, len(columns) - 0.4), ylim=(len(rows) - 0.4, -0.6))
        axes.grid(color="#EEEEEE", linewidth=0.6)
        axes.spines[:].set_visible(False)
        direction = f"Mean change of the cosine\nwith {result['params']['toward'] or 'the direction'}"
        add_colorbar(axes, image, _LABELS.get(value, direction))
        for percent in (10, 50, 100):
            axes.scatter([], [], s=_DOT * percent / 100, c="white", edgecolors="black", linewidths=0.3, label=percent)
        legend = {"title": "Expressing cells (%)", "title_fontsize": 6.5, "columnspacing": 0.8, "handletextpad": 0.2}
        add_legend(axes, ncols=3, **legend)
        return finish(figure, axes, own=ax is None, show=show, return_fig=return_fig)

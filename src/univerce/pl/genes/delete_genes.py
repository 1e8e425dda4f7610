"""Plot how far cells move without genes."""

from __future__ import annotations

from typing import Literal, get_args

import anndata as ad
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import DIVERGING, MM, SEQUENTIAL, finish, get_axes, get_cmap, get_result, style
from univerce.pl._parts import add_colorbar, add_legend, fit_grid, set_columns, set_rows

Value = Literal["cosine_shift_expressing", "cosine_shift", "euclidean_shift", "toward"]
_CELL = 4.2 * MM
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
    cmap: str | Colormap | None = None,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Plot the shift of each group of cells for each deletion, as dots.

    The size of a dot is the share of the cells that express a deleted gene, the color the mean shift of these cells.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.delete_genes`.
    %(key)s
    value
        Column of the table to color by; ``None`` is ``"toward"`` if there is a direction, else
        ``"cosine_shift_expressing"``.
    %(cmap, title, figsize, ax, show, return_fig, drawn)s
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
    result = get_result(adata, key, made_by="uc.tl.delete_genes", needs=("table.deletion", "params"))
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
    grid = fit_grid(rows, columns, cell=_CELL)
    largest = (0.8 * grid.columns.pitch * 72) ** 2  # square points
    with style():
        figure, axes = get_axes(ax, *(figsize or grid.size(above=12 * MM)))
        toward = value == "toward"
        image = axes.scatter(
            x, y, s=largest * dots["share"], c=dots[value].astype(float), linewidths=0.3, edgecolors="black",
            cmap=get_cmap(cmap, DIVERGING if toward else f"{SEQUENTIAL}_r"), vmin=-limit if toward else 0, vmax=limit,
            clip_on=False,
        )  # fmt: skip
        set_rows(axes, grid.rows)
        set_columns(axes, grid.columns, italic=True)
        axes.set_xlim(-0.6, len(columns) - 0.4)
        axes.grid(color="#EEEEEE", linewidth=0.6)
        axes.spines[:].set_visible(False)
        direction = f"Mean change of the cosine\nwith {result['params']['toward'] or 'the direction'}"
        add_colorbar(axes, image, _LABELS.get(value, direction), grid)
        for percent in (10, 50, 100):
            axes.scatter(
                [], [], s=largest * percent / 100, c="white", edgecolors="black", linewidths=0.3, label=percent
            )
        legend = {"title": "Expressing cells (%)", "title_fontsize": 6.5, "columnspacing": 0.8, "handletextpad": 0.2}
        add_legend(axes, ncols=3, **legend)
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

"""Draw whether types are the same in every tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anndata as ad

from univerce.pl._figure import BASELINE, MATCH, SINGLE, finish, get_axes, get_result, style
from univerce.pl._shares import AROUND, ROW, Series, draw_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def tissue_homogeneity(
    adata: ad.AnnData,
    *,
    by: Literal["type", "tissue"] = "type",
    k: int | None = None,
    key: str = "tissue_homogeneity",
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    """Draw how often the nearest centroids of a type include the same type of another tissue.

    The numbers beside a bar count these centroids and those whose type a second tissue has. The line is the 95 %
    interval that shuffled types give, its tick their mean.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.tl.tissue_homogeneity`.
    by
        A group of bars for each ``"type"`` or each ``"tissue"``, below that of all.
    k
        How many nearest centroids count; ``None`` is the smallest number that was scored.
    key
        Where the results are in ``uns``.
    figsize
        Inches; ``None`` is one column wide, and as high as there are bars.
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
        When ``by`` is unknown, or ``k`` was not scored.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> _ = uc.tl.tissue_homogeneity(adata, tissue="phase", min_cells=10)
    >>> uc.pl.tissue_homogeneity(adata, show=False)
    <Axes: ...>
    """
    scores = get_result(adata, key, made_by="uc.tl.tissue_homogeneity", needs=("scores", "params"))["scores"]
    if by not in ("type", "tissue"):
        raise ValueError(f"by={by!r} is not known; use 'type' or 'tissue'.")
    counted = sorted({int(n) for n in scores["k"]})
    k = counted[0] if k is None else k
    if k not in counted:
        raise ValueError(f"k={k!r} was not scored; there is {', '.join(map(str, counted))}.")
    table = scores[(scores["k"] == k) & scores["by"].isin(["overall", by])]
    names = list(dict.fromkeys(table["name"].astype(str)))
    parts = table.groupby(table["representation"].astype(str), sort=False)
    series = [Series(str(name), part, color) for (name, part), color in zip(parts, (MATCH, BASELINE), strict=False)]
    many = "the nearest centroid is" if k == 1 else f"one of the {k} nearest centroids is"
    with style():
        own = ax is None
        figure, ax = get_axes(ax, *(figsize or (SINGLE, AROUND + ROW * len(names) * max(len(series), 1.3))))
        label = f"Centroids for which {many}\nof their type in another tissue (%)"
        draw_shares(ax, series, names, label=label, chance="shuffled")
        return finish(figure, ax, own=own, show=show, return_fig=return_fig)

"""Are types the same in every tissue, as a figure?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from univerce.pl._figure import SINGLE, finish, get_axes, get_result, style
from univerce.pl._shares import AROUND, ROW, draw_shares

if TYPE_CHECKING:
    import anndata as ad
    from matplotlib.axes import Axes


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
) -> Any:
    """Draw how often the nearest centroids of a type are the same type of another tissue.

    Parameters
    ----------
    adata
        AnnData that :func:`univerce.tl.tissue_homogeneity` wrote to.
    by
        A group of bars for each type, or for each tissue; the first is that of all.
    k
        How many nearest centroids count; ``None`` is the smallest number that was scored.
    key
        Key of the results in ``uns``.
    figsize
        Inches; by default one column of a journal, and as high as it needs.
    ax
        Axes to draw into.
    show
        Show the figure; ``None`` does so unless ``ax`` is given.
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
    >>> uc.tl.uce_embed(adata, progress=False)
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
    series = list(dict.fromkeys(table["representation"].astype(str)))
    names = list(dict.fromkeys(table["name"].astype(str)))
    parts = [(name, table[table["representation"].astype(str) == name]) for name in series]
    size = figsize or (SINGLE, AROUND + ROW * len(names) * max(len(series), 1.3))
    with style():
        own = ax is None
        figure, ax = get_axes(ax, *size)
        many = "the nearest centroid" if k == 1 else f"one of the {k} nearest centroids"
        draw_shares(ax, parts, names, f"Centroids for which {many}\nis the same type elsewhere (%)")
        return finish(figure, ax, own=own, show=show, return_fig=return_fig)

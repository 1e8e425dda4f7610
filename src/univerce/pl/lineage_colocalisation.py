"""Do lineages stay together, as a figure?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from univerce.pl._figure import SINGLE, finish, get_axes, get_result, style
from univerce.pl._shares import AROUND, ROW, draw_shares

if TYPE_CHECKING:
    import anndata as ad
    from matplotlib.axes import Axes


def lineage_colocalisation(
    adata: ad.AnnData,
    *,
    key: str = "lineage_colocalisation",
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    r"""Draw for how many types of each lineage the nearest other type is of the same lineage.

    Parameters
    ----------
    adata
        AnnData that :func:`univerce.tl.lineage_colocalisation` wrote to.
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

    Examples
    --------
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> terms = {"CL:1": ("lymphocyte", ""), "CL:2": ("T cell", "CL:1"), "CL:3": ("B cell", "CL:1")}
    >>> terms |= {"CL:4": ("myeloid cell", ""), "CL:5": ("monocyte", "CL:4"), "CL:6": ("dendritic cell", "CL:4")}
    >>> lines = [f"[Term]\nid: {i}\nname: {name}\n" + f"is_a: {up}\n" * bool(up) for i, (name, up) in terms.items()]
    >>> _ = Path("small.obo").write_text("\n".join(["ontology: small\n", *lines]))
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata, progress=False)
    >>> ids = {"CD14+ Monocyte": "CL:5", "Dendritic": "CL:6", "CD8+ Cytotoxic T": "CL:2", "CD4+/CD25 T Reg": "CL:2"}
    >>> lineages = {"lymphoid": "CL:1", "myeloid": "CL:4"}
    >>> _ = uc.tl.lineage_colocalisation(
    ...     adata, lineages=lineages, ontology="small.obo", ontology_ids=ids, progress=False
    ... )
    >>> uc.pl.lineage_colocalisation(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.tl.lineage_colocalisation", needs=("scores", "types"))
    scores = found["scores"]
    names = scores["lineage"].astype(str).tolist()
    size = figsize or (SINGLE, AROUND + 1.3 * ROW * len(names))
    with style():
        own = ax is None
        figure, ax = get_axes(ax, *size)
        draw_shares(ax, [("nearest type", scores)], names, "Types whose nearest type is of their lineage (%)")
        return finish(figure, ax, own=own, show=show, return_fig=return_fig)

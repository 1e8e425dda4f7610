"""Draw whether lineages stay together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np

from univerce.pl._figure import MATCH, PALETTE, SINGLE, finish, get_axes, get_result, style
from univerce.pl._shares import AROUND, ROW, Series, draw_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def lineage_colocalization(
    adata: ad.AnnData,
    *,
    key: str = "lineage_colocalization",
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    r"""Draw how many types of each lineage lie beside one of it, and of how many a classifier tells the lineage.

    The line on a bar of the nearest types is the 95 % interval that shuffled lineages give, its tick their mean; the
    tick on a bar of the classifier is what always naming the most frequent lineage gives. The numbers count types.

    Parameters
    ----------
    adata
        AnnData after :func:`univerce.tl.lineage_colocalization`.
    key
        Where the results are in ``uns``.
    figsize
        Inches; ``None`` is one column wide, and as high as there are lineages.
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

    Examples
    --------
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> terms = {"CL:1": ("lymphocyte", ""), "CL:2": ("T cell", "CL:1"), "CL:3": ("B cell", "CL:1")}
    >>> terms |= {"CL:4": ("myeloid cell", ""), "CL:5": ("monocyte", "CL:4"), "CL:6": ("dendritic cell", "CL:4")}
    >>> lines = [f"[Term]\nid: {i}\nname: {name}\n" + f"is_a: {up}\n" * bool(up) for i, (name, up) in terms.items()]
    >>> _ = Path("small.obo").write_text("\n".join(["ontology: small\n", *lines]))
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> ids = {"CD14+ Monocyte": "CL:5", "Dendritic": "CL:6", "CD8+ Cytotoxic T": "CL:2", "CD4+/CD25 T Reg": "CL:2"}
    >>> lineages = {"lymphoid": "CL:1", "myeloid": "CL:4"}
    >>> _ = uc.tl.lineage_colocalization(
    ...     adata, lineages=lineages, ontology="small.obo", ontology_ids=ids
    ... )
    >>> uc.pl.lineage_colocalization(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.tl.lineage_colocalization", needs=("scores", "types"))
    scores = found["scores"]
    guessed = scores[["n"]].assign(
        hits=(scores["accuracy"] * scores["n"]).round(), share=scores["accuracy"], chance=scores["majority"],
        chance_low=np.nan, chance_high=np.nan,
    )  # fmt: skip
    series = [Series("nearest type", scores, MATCH), Series("classifier, type held out", guessed, PALETTE[4])]
    names = scores["lineage"].astype(str).tolist()
    with style():
        own = ax is None
        figure, ax = get_axes(ax, *(figsize or (SINGLE, AROUND + 2 * ROW * len(names))))
        draw_shares(ax, series, names, label="Types found to be of their lineage (%)", chance="chance")
        return finish(figure, ax, own=own, show=show, return_fig=return_fig)

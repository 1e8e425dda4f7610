"""Plot whether cell types of one lineage are close."""

from __future__ import annotations

import anndata as ad
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from univerce._docs import document
from univerce.pl._figure import MATCH, PALETTE, finish, get_axes, get_result, style
from univerce.pl._shares import Series, draw_shares, shares_size


@document
def lineage_colocalization(
    adata: ad.AnnData,
    *,
    key: str = "lineage_colocalization",
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Figure | Axes | None:
    r"""Plot the types of each lineage with their nearest type in it, and those predicted correctly.

    The line on a bar of the nearest types is the 95 % interval of shuffled lineages, its tick their mean. The tick on a
    bar of the classifier is the accuracy of always predicting the most frequent lineage. Numbers are types.

    Parameters
    ----------
    adata
        Annotated data matrix, after :func:`univerce.tl.lineage_colocalization`.
    %(figure, drawn)s

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    %(types)s
    >>> lineages = {"lymphoid": "CL:0000542", "myeloid": "CL:0000766"}
    >>> _ = uc.tl.lineage_colocalization(adata, lineages=lineages, ontology="CL", ontology_ids=types)
    >>> uc.pl.lineage_colocalization(adata, show=False)
    <Axes: ...>
    """
    scores = get_result(adata, key, made_by="uc.tl.lineage_colocalization", needs=("table", "types.lineage"))["table"]
    predicted = scores[["n"]].assign(
        hits=(scores["accuracy"] * scores["n"]).round(), share=scores["accuracy"], chance=scores["majority"],
        chance_low=np.nan, chance_high=np.nan,
    )  # fmt: skip
    series = [Series("nearest type", scores, MATCH), Series("classifier, type left out", predicted, PALETTE[4])]
    names = scores["lineage"].astype(str).tolist()
    with style():
        figure, axes = get_axes(ax, *(figsize or shares_size(series, names)))
        draw_shares(axes, series, names, label="Types assigned to their lineage (%)", chance="chance")
        return finish(figure, axes, own=ax is None, title=title, show=show, return_fig=return_fig)

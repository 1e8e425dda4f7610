"""How far out cells lie, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from univerce.pl._figure import BASELINE, MATCH, SINGLE, finish, get_axes, get_result, style

if TYPE_CHECKING:
    import anndata as ad
    from matplotlib.axes import Axes


def ood_score(
    adata: ad.AnnData,
    *,
    key: str = "ood",
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Any:
    """Draw the distances of cells to a reference beside those that cells of the reference have to each other.

    Parameters
    ----------
    adata
        AnnData that :func:`univerce.tl.ood_score` wrote to.
    key
        ``key_added`` of that call.
    figsize
        Inches; by default one column of a journal.
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
        When the results are not in ``uns`` and ``obs``.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(cells, progress=False)
    >>> adata, reference = cells[:100].copy(), cells[100:].copy()
    >>> _ = uc.tl.ood_score(adata, reference, progress=False)
    >>> uc.pl.ood_score(adata, show=False)
    <Axes: ...>
    """
    found = get_result(adata, key, made_by="uc.tl.ood_score", needs=("calibration", "report"))
    if f"{key}_score" not in adata.obs:
        raise KeyError(f"adata.obs[{key + '_score'!r}] does not exist. Call uc.tl.ood_score again.")
    score = adata.obs[f"{key}_score"].to_numpy(float)
    score, calibration = score[~np.isnan(score)], np.asarray(found["calibration"], float)
    limit = np.quantile(calibration, 0.95, method="higher")
    bins = np.histogram_bin_edges(np.concatenate([score, calibration]), 40)
    with style():
        own = ax is None
        figure, ax = get_axes(ax, *(figsize or (SINGLE, 0.65 * SINGLE)))
        series = (("reference", calibration, BASELINE, True), ("cells", score, MATCH, False))
        for name, values, colour, fill in series:
            share = np.histogram(values, bins)[0] / len(values)
            ax.stairs(
                100 * share, bins, color=colour, fill=fill, alpha=0.6 if fill else 1, label=f"{name} ({len(values):,})"
            )
        ax.axvline(limit, color="black", linestyle=(0, (4, 3)), linewidth=0.8, label="95 % of the reference")
        ax.set(xlabel=f"Distance to cell {int(found['params']['n_neighbors'])} of the reference", ylabel="Cells (%)")
        if "auroc" in found:
            ax.set_title(f"Shuffled cells are told by an AUROC of {float(found['auroc']):.3f}")
        ax.legend(loc="upper right")
        return finish(figure, ax, own=own, show=show, return_fig=return_fig)

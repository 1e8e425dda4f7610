"""Compute the mean embedding of groups of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._validate import check_whole, get_modality
from univerce.embeddings.cells import Cells
from univerce.embeddings.groups import get_groups, group_means

if TYPE_CHECKING:
    from mudata import MuData

_BLOCK_ROWS = 8192


@document
def centroids(
    adata: ad.AnnData | MuData,
    groupby: str | Sequence[str],
    *,
    mod: str | None = None,
    use_rep: str = X_UCE,
    min_cells: int = 10,
) -> ad.AnnData:
    """Compute the centroid of every group of cells, such as every cell type of every tissue (Rosen et al. 2026).

    A centroid is the mean of the embeddings of its cells, not scaled to unit length. Functions that take cells also
    take the centroids, with ``min_cells=1``.

    The embedding may be stored on disk: it is read once, in blocks, and summed in double precision. The result equals
    that of :func:`scanpy.get.aggregate`.

    Parameters
    ----------
    adata
        Cells with an embedding, or an atlas; not changed.
    groupby
        Column of ``obs``, or several; each combination of labels that occurs is a group.
    %(mod, use_rep, min_cells)s

    Returns
    -------
    A new AnnData ``[n_groups, n_dims]``, sorted by the labels; ``adata`` is not changed. Cells without
    a label or an embedding are left out, and their number is logged.

    ``X`` and ``obsm[use_rep]``
        Mean embedding, float32.
    ``obs``
        The columns of ``groupby`` and ``n_cells``; names join the labels, as in ``"Lung | macrophage"``.
    ``uns["univerce"][use_rep]``, ``obs[f"{use_rep}_space"]``
        Space of the embedding, if recorded.

    Raises
    ------
    KeyError
        If a column or the embedding does not exist.
    ValueError
        If no group is left, two groups get the same name, or ``groupby`` or ``min_cells`` is invalid.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obsm["X_toy"] = adata.obs[["percent_mito", "S_score"]].to_numpy()
    >>> groups = uc.tl.centroids(adata, ["phase", "cell_type"], use_rep="X_toy", min_cells=20)
    >>> groups.obs_names[0], int(groups.obs["n_cells"].iloc[0]), groups.shape
    ('G1 | CD14+ Monocyte', 109, (10, 2))
    """
    adata = get_modality(adata, mod)
    keys = [groupby] if isinstance(groupby, str) else list(groupby)
    if not keys or len(set(keys)) < len(keys) or "n_cells" in keys:
        raise ValueError(f"groupby={groupby!r} must name one or more columns of obs, each once and none 'n_cells'.")
    check_whole("min_cells", min_cells, 1)
    cells = Cells.read(adata, use_rep)
    groups = get_groups(cells, keys, min_cells=int(min_cells))
    means = group_means(cells.blocks(_BLOCK_ROWS), groups).astype(np.float32)
    obs = pd.DataFrame({key: pd.Categorical(groups.table[key]) for key in keys})
    obs["n_cells"] = groups.table["n_cells"].to_numpy()
    obs.index = pd.Index([" | ".join(labels) for labels in groups.table[keys].itertuples(index=False)])
    if repeated := sorted(obs.index[obs.index.duplicated()]):
        raise ValueError(
            f"Two groups of {', '.join(map(repr, keys))} have the name {repeated[0]!r}. Rename a label with ' | '."
        )
    dims = pd.DataFrame(index=pd.Index([str(j) for j in range(means.shape[1])]))
    centroids = ad.AnnData(means, obs=obs, var=dims, obsm={use_rep: means.copy()})
    if cells.space is not None:
        cells.space.write(centroids, use_rep)
    return centroids

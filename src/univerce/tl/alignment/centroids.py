"""The mean embedding of every group of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce._validate import check_whole, get_modality
from univerce.embeddings.cells import get_embedding, iter_rows, known_cells
from univerce.embeddings.groups import get_groups, group_means

if TYPE_CHECKING:
    from mudata import MuData

_BLOCK_ROWS = 8192


def centroids(
    adata: ad.AnnData | MuData,
    groupby: str | Sequence[str],
    *,
    mod: str | None = None,
    use_rep: str = X_UCE,
    min_cells: int = 1,
) -> ad.AnnData:
    """The centroid of every group of cells, such as every cell type of every tissue (Rosen et al. 2024).

    A centroid is the mean of the embeddings of its cells; it is not brought back to unit length. The result holds them
    in ``obsm`` as well, with what is known of their space, so every function that takes cells takes centroids too.

    The embedding may lie on disk: it is read once, in blocks, and summed up in double precision. In memory the result
    equals that of :func:`scanpy.get.aggregate`.

    Parameters
    ----------
    adata
        Cells; ``obs`` and ``obsm`` are read.
    groupby
        Column of ``obs``, or several: then every combination that occurs is a group.
    mod
        Modality, when ``adata`` is a MuData.
    use_rep
        Key of the embedding in ``obsm``.
    min_cells
        Smaller groups are left out, and named in the log.

    Returns
    -------
    AnnData ``[n_groups, n_dims]``, sorted by the labels. Cells that lack a label or an embedding are in no group; the
    log says how many.

    ``X`` and ``obsm[use_rep]``
        Mean embedding, float32.
    ``obs``
        The columns of ``groupby`` and ``n_cells``; the names join the labels, as in ``"Lung | macrophage"``.
    ``uns[use_rep]["params"]``
        That of ``adata``, when there is one.

    Raises
    ------
    KeyError
        When there is no such column or embedding; the message lists those there are.
    ValueError
        When no group is left, ``groupby`` is empty, names a column twice or is ``"n_cells"``, ``min_cells`` is less
        than 1, or the labels of two groups read the same when they are joined.

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
    rep = get_embedding(adata, use_rep)
    groups = get_groups(adata, keys, known_cells(rep), min_cells=int(min_cells))
    means = group_means(iter_rows(rep, _BLOCK_ROWS), groups).astype(np.float32)
    obs = pd.DataFrame({key: pd.Categorical(groups.table[key]) for key in keys})
    obs["n_cells"] = groups.table["n_cells"].to_numpy()
    obs.index = pd.Index([" | ".join(labels) for labels in groups.table[keys].itertuples(index=False)])
    if repeated := sorted(obs.index[obs.index.duplicated()]):
        raise ValueError(
            f"Two groups of {', '.join(map(repr, keys))} would be called {repeated[0]!r}; rename a label with ' | '."
        )
    columns = pd.DataFrame(index=pd.Index([str(j) for j in range(means.shape[1])]))
    out = ad.AnnData(means, obs=obs, var=columns, obsm={use_rep: means.copy()})
    entry = adata.uns.get(use_rep)
    if isinstance(entry, Mapping) and isinstance(entry.get("params"), Mapping):
        out.uns[use_rep] = {"params": dict(entry["params"])}
    return out

"""Compare the silhouettes of cell types between embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import logger
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import Cells, known_in_all
from univerce.embeddings.labels import get_labels
from univerce.embeddings.ranks import check_metric

if TYPE_CHECKING:
    from mudata import MuData


@document
def silhouette_by_type(
    adata: ad.AnnData | MuData,
    *,
    groupby: str = "cell_type",
    mod: str | None = None,
    use_reps: str | Sequence[str] = (X_UCE,),
    metric: str = "euclidean",
    max_cells: int = 10_000,
    rng: int | np.random.Generator = 0,
    key_added: str = "silhouette_by_type",
) -> pd.DataFrame:
    """Compute the mean silhouette of each cell type in several embeddings.

    The silhouette of a cell, :func:`sklearn.metrics.silhouette_samples`, compares its mean distance to its own type
    with that to the nearest other type. As in scIB (Luecken et al. 2022) it is scaled from [-1, 1] to [0, 1]: 0.5 is a
    cell between two types. Embeddings are compared on the cells that have all of them.

    Parameters
    ----------
    %(adata, groupby, mod)s
    use_reps
        Keys of the embeddings in ``obsm``.
    %(metric)s
    max_cells
        Subsample larger data to this number of cells, equally from each type where possible. The time grows with the
        square of the number.
    rng
        Seed or generator. The subsample depends on cell names, not on their order.
    %(key_added)s

    Returns
    -------
    A row per ``type`` and ``use_rep``: ``n_cells`` compared, their mean ``silhouette`` between 0 and 1, and ``won``: 1
    for the best embedding of the type, an equal part if several are tied, else 0. A type of one cell has no silhouette,
    and both are NaN. Writes:

    %(written)s
    ``uns[key_added]["summary"]``
        For each ``use_rep`` the mean ``silhouette`` over the types, and ``share_won``.

    Raises
    ------
    KeyError
        If an embedding or the column does not exist.
    ValueError
        If there are fewer than two types, no type has two cells, an option is invalid, or ``adata`` is a view of a
        backed file.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obsm["X_cycle"] = adata.obs[["S_score", "G2M_score"]].to_numpy()
    >>> adata.obsm["X_noise"] = adata.obsm["X_cycle"][::-1]
    >>> table = uc.tl.silhouette_by_type(adata, groupby="phase", use_reps=["X_cycle", "X_noise"])
    >>> table.groupby("use_rep")["won"].mean().round(2).to_dict()
    {'X_cycle': 0.67, 'X_noise': 0.33}
    """
    adata = get_modality(adata, mod)
    keys = [use_reps] if isinstance(use_reps, str) else list(dict.fromkeys(use_reps))
    if not keys:
        raise ValueError("use_reps is empty; name at least one embedding in obsm.")
    check_metric(metric)
    check_whole("max_cells", max_cells, 2)
    check_writable(adata, key_added)
    seed = as_seed(rng)

    labels = np.asarray(get_labels(adata.obs, groupby), dtype=object)
    embeddings = [Cells.read(adata, key, metric=metric) for key in keys]
    used = np.flatnonzero(known_in_all(*embeddings) & pd.notna(labels))
    if n_unused := adata.n_obs - len(used):
        logger.info("%s of %s cells have no label or embedding and are left out.", f"{n_unused:,}", f"{adata.n_obs:,}")
    used = used[np.argsort(adata.obs_names.to_numpy(dtype=str)[used], kind="stable")]
    codes, types = pd.factorize(labels[used], sort=True)
    if len(types) < 2 or np.bincount(codes).max() < 2:
        raise ValueError(
            f"obs[{groupby!r}] needs at least two types, one of them with two cells, whose cells have an embedding; "
            f"there are {len(types)}: {', '.join(map(repr, types[:5])) or 'none'}."
        )
    drawn = draw_evenly(codes, int(max_cells), np.random.default_rng(seed))
    used, codes = used[drawn], codes[drawn]
    if len(codes) == len(types):
        raise ValueError(f"max_cells={max_cells} leaves one cell of each of the {len(types)} types; raise it.")
    n_cells = np.bincount(codes, minlength=len(types))
    scores = np.column_stack([_mean_silhouettes(cells.rows(used), codes, metric) for cells in embeddings])
    scores[n_cells < 2] = np.nan
    best = scores == np.nanmax(np.where(np.isnan(scores), -np.inf, scores), axis=1, keepdims=True)
    won = np.where(np.isnan(scores), np.nan, best / np.maximum(best.sum(axis=1, keepdims=True), 1))

    table = pd.DataFrame(
        {
            "type": np.repeat(types, len(keys)),
            "use_rep": np.tile(np.array(keys, dtype=object), len(types)),
            "n_cells": np.repeat(n_cells, len(keys)),
            "silhouette": scores.ravel(),
            "won": won.ravel(),
        }
    )
    summary = table.groupby("use_rep", sort=False)[["silhouette", "won"]].mean().reset_index()
    adata.uns[key_added] = {
        "table": table,
        "summary": summary.rename(columns={"won": "share_won"}),
        "params": {"groupby": groupby, "metric": metric, "max_cells": int(max_cells), "seed": seed},
    }
    return table.copy()


def draw_evenly(codes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Sorted positions of at most ``n`` cells: equally many of each type, and all of smaller types.

    The mean distance from a cell to a type does not depend on the number of cells drawn from it, so the expected
    silhouettes stay the same.
    """
    if len(codes) <= n:
        return np.arange(len(codes))
    sizes = np.bincount(codes)
    quota = np.zeros_like(sizes)
    order = np.argsort(sizes, kind="stable")
    left = n
    for place, code in enumerate(order):  # smallest first: what they leave goes to the larger ones
        quota[code] = min(sizes[code], max(left // (len(order) - place), 1))
        left -= quota[code]
    parts = [rng.permutation(np.flatnonzero(codes == code))[:count] for code, count in enumerate(quota)]
    return np.sort(np.concatenate(parts))


def _mean_silhouettes(points: np.ndarray, codes: np.ndarray, metric: str) -> np.ndarray:
    """``[n_types]`` mean silhouettes, between 0 and 1."""
    from sklearn.metrics import silhouette_samples

    values = (silhouette_samples(points, codes, metric=metric) + 1) / 2
    return np.asarray(np.bincount(codes, values) / np.bincount(codes))

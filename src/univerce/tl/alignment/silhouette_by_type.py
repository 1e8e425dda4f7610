"""How well does each embedding keep each cell type together?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import gather, get_embedding, known_cells
from univerce.embeddings.labels import get_labels
from univerce.embeddings.ranks import check_metric

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger(__name__)


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
    """The mean silhouette of each cell type in several embeddings, and which embedding wins it.

    The silhouette of a cell, :func:`sklearn.metrics.silhouette_samples`, compares its mean distance s to its own type
    with that to the nearest other type. As in scIB (Luecken et al. 2022) it is scaled from [-1, 1] to [0, 1]: 0.5 is a
    cell between two types. All embeddings are compared on the same cells, those that all of them know.

    Parameters
    ----------
    adata
        Cells; results are written into ``uns``.
    groupby
        Column of ``obs`` with the types.
    mod
        Modality, when ``adata`` is a MuData.
    use_reps
        Keys of the embeddings in ``obsm``.
    metric
        ``"euclidean"``, or ``"cosine"``, under which a cell of zeros has no direction and counts as one without an
        embedding.
    max_cells
        With more cells, each type gives as many as the others, drawn at random, and small types all of theirs. The
        time grows with the square of it.
    rng
        Seed, or generator, of the draws. They depend on the names of the cells, not on their order.
    key_added
        Key in ``uns``.

    Returns
    -------
    A row for each ``type`` and ``use_rep``: ``n_cells`` that were compared, their mean ``silhouette`` between 0 and 1,
    and ``won``: 1 for the embedding that is the best of the type, a share of it for several that are equally good, else
    0. The share of types that an embedding wins is the mean of ``won`` over its rows. A type of one cell has no
    silhouette; both are NaN. Written are:

    ``uns[key_added]["types"]``
        The same table.
    ``uns[key_added]["summary"]``
        For each ``use_rep`` the mean ``silhouette`` over the types, and the ``share_won`` of them.
    ``uns[key_added]["params"]``
        What was compared.

    Raises
    ------
    KeyError
        When an embedding or the column does not exist.
    ValueError
        When there are fewer than two types, no type has two cells, an option is out of range, or ``adata`` is a view of
        a file.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> adata.obsm["X_noise"] = adata.obsm["X_uce"][::-1]
    >>> table = uc.tl.silhouette_by_type(adata, use_reps=["X_uce", "X_noise"])
    >>> table.groupby("use_rep")["won"].mean().to_dict()
    {'X_noise': 0.1, 'X_uce': 0.9}
    """
    adata = get_modality(adata, mod)
    keys = [use_reps] if isinstance(use_reps, str) else list(dict.fromkeys(use_reps))
    if not keys:
        raise ValueError("use_reps is empty; name at least one embedding in obsm.")
    check_metric(metric)
    check_whole("max_cells", max_cells, 2)
    check_writable(adata)
    seed = as_seed(rng)
    labels = np.asarray(get_labels(adata.obs, groupby), dtype=object)
    known = np.logical_and.reduce([known_cells(get_embedding(adata, key), metric) for key in keys])
    used = np.flatnonzero(known & pd.notna(labels))
    if len(used) < adata.n_obs:
        logger.info(
            "%s of %s cells have no label or lack an embedding and are left out.",
            f"{adata.n_obs - len(used):,}", f"{adata.n_obs:,}",
        )  # fmt: skip
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
    scores = np.column_stack([_silhouettes(adata, key, used, codes, metric) for key in keys])
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
        "types": table,
        "summary": summary.rename(columns={"won": "share_won"}),
        "params": {"groupby": groupby, "metric": metric, "max_cells": int(max_cells), "seed": seed},
    }
    return table.copy()


def draw_evenly(codes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Places of at most ``n`` cells, ascending: as many of each type, and all of a type that has fewer.

    The mean distance from a cell to a type does not depend on how many cells of it are drawn, so the silhouettes stay
    what they are on average.
    """
    if len(codes) <= n:
        return np.arange(len(codes))
    sizes = np.bincount(codes)
    quota = np.zeros_like(sizes)
    order = np.argsort(sizes, kind="stable")
    left = n
    for place, code in enumerate(order):  # the small ones first: what they leave goes to the large ones
        quota[code] = min(sizes[code], max(left // (len(order) - place), 1))
        left -= quota[code]
    parts = [rng.permutation(np.flatnonzero(codes == code))[:count] for code, count in enumerate(quota)]
    return np.sort(np.concatenate(parts))


def _silhouettes(adata: ad.AnnData, key: str, cells: np.ndarray, codes: np.ndarray, metric: str) -> np.ndarray:
    """``[n_types]`` mean silhouettes between 0 and 1."""
    from sklearn.metrics import silhouette_samples

    points = gather(get_embedding(adata, key), cells)
    values = (silhouette_samples(points, codes, metric=metric) + 1) / 2
    return np.asarray(np.bincount(codes, values) / np.bincount(codes))

"""Subtract the mean embedding of the data set, or of each batch."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._validate import check_writable, get_modality
from univerce.embeddings.cells import Cells
from univerce.embeddings.labels import get_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@document
def center(
    adata: AnnData | MuData,
    *,
    use_rep: str = X_UCE,
    batch_key: str | None = None,
    mod: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Subtract the mean embedding of the data set, or of each batch, and scale cells to unit length again.

    Removes what all cells of a data set share (laboratory, depth, species). Use it to cluster a data set from a species
    or protocol that the model hardly knows; elsewhere it changes little. The result is no longer universal: each cell
    depends on the others, and differences in composition are removed together with the batch. Do not use it for label
    transfer or search, where it lowers accuracy, or if batches have different cell types.

    Parameters
    ----------
    adata
        Cells embedded by :func:`univerce.tl.uce_embed`.
    use_rep
        Key of the embedding in ``obsm``.
    batch_key
        Column of ``obs`` with the batches to center one by one; ``None`` centers all cells together.
    %(mod)s
    key_added
        Key of the result; ``None`` is ``f"{use_rep}_centered"``.
    %(copy, sets)s

    ``obsm[key_added]``
        ``[n_obs, n_dims]`` float32 of unit length; NaN for cells without an embedding, or without a batch.
    ``uns["univerce"][key_added]``, ``obs[f"{key_added}_space"]``
        The record of ``use_rep`` with another model name and digest, because centered embeddings form a separate space,
        which no function mixes with the original one.

    Raises
    ------
    KeyError
        If the embedding, its record or the column does not exist.
    ValueError
        If ``key_added`` is ``use_rep``, or the column does not hold labels.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()[:50].copy()
    >>> uc.tl.uce_embed(adata)
    >>> uc.pp.center(adata)
    >>> adata.uns["univerce"]["X_uce_centered"]["model"]
    'uce-mini, centered'
    """
    data = adata.copy() if copy else adata
    adata = get_modality(data, mod)
    check_writable(adata, key_added)
    key_added = f"{use_rep}_centered" if key_added is None else key_added
    if key_added == use_rep:
        raise ValueError(f"key_added={key_added!r} would replace the embedding; choose another key.")
    cells = Cells.read(adata, use_rep)
    space = cells.require_space()
    batch = np.zeros(len(cells), dtype=int) if batch_key is None else get_labels(adata.obs, batch_key).codes
    values = cells.rows(np.arange(len(cells)))
    values[~cells.known] = np.nan
    adata.obsm[key_added] = center_rows(values, np.asarray(batch))
    digest = hashlib.sha256(f"{space.model_digest} centered".encode()).hexdigest()
    details = {**space.details, "centered": use_rep, "batch_key": batch_key or ""}
    centered = replace(space, model=f"{space.model}, centered", model_digest=digest, details=details)
    centered.write(adata, key_added)
    return data if copy else None


def center_rows(values: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Subtract the mean of each batch and scale rows to unit length, ``[n, dim]`` float32.

    Rows with NaN stay NaN and do not count; rows of batch -1, and rows at the mean of their batch, become NaN.
    """
    out = np.full(values.shape, np.nan, dtype=np.float32)
    known = ~np.isnan(values).any(axis=1)
    for code in np.unique(batch[batch >= 0]):
        rows = np.flatnonzero(known & (batch == code))
        apart = values[rows].astype(np.float64)
        apart -= apart.mean(axis=0) if len(rows) else 0
        length = np.linalg.norm(apart, axis=1, keepdims=True)
        out[rows] = np.divide(apart, length, out=np.full_like(apart, np.nan), where=length > 0)
    return out

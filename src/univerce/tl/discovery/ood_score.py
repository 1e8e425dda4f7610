"""Score how unlike a reference each cell is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._validate import as_seed, check_whole, check_writable, get_modalities
from univerce._version import __version__
from univerce.embeddings.cells import Cells, count_shared
from univerce.tl.discovery._neighbor_distances import calibrate, neighbor_distances, p_values
from univerce.tl.discovery._positives import read

if TYPE_CHECKING:
    from mudata import MuData

_LEVELS = (0.1, 0.05, 0.01)


@document
def ood_score(
    adata: ad.AnnData | MuData,
    reference: ad.AnnData | MuData | str | os.PathLike[str],
    *,
    mod: str | None = None,
    use_rep: str = X_UCE,
    n_neighbors: int = 15,
    batch_key: str | None = None,
    n_calibration: int = 2000,
    key_added: str = "ood",
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Score how unlike a reference each cell is, by the distance to its k-th nearest reference cell.

    The distance is calibrated on reference cells, by their distance to their own k-th nearest neighbor: the p-value of
    a cell is the share of reference cells that are as far away (a conformal p-value; Bates et al. 2023, equation 4). It
    is uniform for cells like those of the reference. Cells from another laboratory are farther away, whatever their
    type. For a fairer comparison pass ``batch_key``, so that the distances of reference cells are measured to cells of
    other batches.

    :func:`evaluate_ood_score` measures how many cells of a type that the reference lacks are found, and
    :func:`univerce.pp.shuffle_counts` creates cells that every score should detect.

    Parameters
    ----------
    adata
        Cells with an embedding. Cells that are also in the reference are counted and logged.
    reference
        Cells to compare with: AnnData, an atlas, or the path of an ``.h5ad`` or ``.zarr``, which is read in blocks.
    %(mod, use_rep)s
    n_neighbors
        Rank k of the reference cell to which the distance is measured.
    batch_key, n_calibration
        Column of ``reference.obs`` with the data set or batch, and maximum number of reference cells, for the
        calibration.
    key_added
        Prefix of the keys of the results.
    %(check_space, rng, copy, sets)s

    ``obs[f"{key_added}_score"]``
        Euclidean distance to the k-th nearest reference cell, float32; NaN for cells without an embedding.
    ``obs[f"{key_added}_p_value"]``
        Conformal p-value; small for cells farther out than reference cells.
    ``uns[key_added]["table"]``
        One row: ``n_cells`` with an embedding, ``median_score``, and the shares of cells with a p-value of at most 0.1,
        0.05 and 0.01, ``share_0.1``, ``share_0.05``, ``share_0.01``.
    ``uns[key_added]["calibration"]``
        Sorted distances of reference cells.
    ``uns[key_added]["params"]``
        Parameters, and ``n_in_reference``, the number of cells that are also in the reference.

    Raises
    ------
    KeyError
        If an embedding, the column, or the record of a space does not exist.
    ValueError
        If the spaces or widths differ, the reference has too few cells (outside of a batch), no cell has an embedding,
        or an option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(cells)
    >>> adata, reference = cells[:100].copy(), cells[100:].copy()
    >>> uc.tl.ood_score(adata, reference)
    >>> int((adata.obs["ood_p_value"] <= 0.05).sum()) < 20
    True
    """
    for name, value in (("n_neighbors", n_neighbors), ("n_calibration", n_calibration)):
        check_whole(name, value, 1)
    seed, k = as_seed(rng), int(n_neighbors)
    data = adata.copy() if copy else adata
    adata, reference = get_modalities(mod, data, reference)
    check_writable(adata, key_added)
    query, cells = Cells.read(adata, use_rep), Cells.read(read(reference), use_rep, name="reference")
    query.check_comparable(cells, check_space=check_space)
    if not query.known.any():
        raise ValueError(f"No cell has an embedding: every row of adata.obsm[{use_rep!r}] holds NaN.")

    calibration = calibrate(cells, k, batch_key, int(n_calibration), seed)
    distance = neighbor_distances(query.values, cells, k)
    p = p_values(distance, calibration)

    adata.obs[f"{key_added}_score"] = distance
    adata.obs[f"{key_added}_p_value"] = p
    adata.uns[key_added] = {
        "params": {
            "use_rep": use_rep, "n_neighbors": k, "batch_key": batch_key or "",
            "reference": "AnnData" if isinstance(reference, ad.AnnData) else str(reference),
            "reference_n_obs": len(cells), "n_in_reference": count_shared(query, cells), "seed": seed,
            "univerce_version": __version__,
        },
        "calibration": calibration,
        "table": _describe(distance[query.known], p[query.known]),
    }  # fmt: skip
    return data if copy else None


def _describe(distance: np.ndarray, p: np.ndarray) -> pd.DataFrame:
    shares = {f"share_{level}": float(np.mean(p <= level)) for level in _LEVELS}
    row = {"n_cells": len(p), "median_score": float(np.median(distance)), **shares}
    return pd.DataFrame([row]).rename(index=str)

"""Score how unlike a reference each cell is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import as_seed, check_whole, check_writable, get_modalities
from univerce._version import __version__
from univerce.embeddings.cells import Cells
from univerce.embeddings.neighbors import exact_neighbors
from univerce.inference.subsample import shuffled_rows
from univerce.tl.discovery._positives import read

if TYPE_CHECKING:
    from mudata import MuData

_LEVELS = (0.1, 0.05, 0.01)
_DRAW_CALIBRATION, _DRAW_SHUFFLED = -4, -5


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
    shuffled: bool = False,
    n_shuffled: int = 500,
    model: str | Path | None = None,
    key_added: str = "ood",
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Score how unlike a reference each cell is, by the distance to its k-th nearest reference cell.

    The distance is calibrated on reference cells, by the distance to their own k-th nearest other cell: the p-value of
    a cell is the share of them that lie as far out (a conformal p-value; Bates et al. 2023, equation 4). It is uniform
    for cells like those of the reference. Cells of another laboratory lie further out whatever their type. For a fairer
    comparison pass ``batch_key``, which measures the distances of reference cells to cells of other batches.

    ``shuffled`` tests the score (Rosen et al. 2024): the counts of each cell are permuted over the genes, the shuffled
    cells are embedded by the model that embedded the real ones, and the AUROC states how well the score separates them.

    Parameters
    ----------
    adata
        Cells with an embedding, none of them in the reference.
    reference
        Cells to compare with: AnnData, an atlas, or the path of an ``.h5ad`` or ``.zarr``, which is read in blocks.
    %(mod, use_rep)s
    n_neighbors
        Rank k of the neighbor.
    batch_key, n_calibration
        Column of ``reference.obs`` with the data set or batch, and most reference cells, for the calibration.
    shuffled, n_shuffled, model
        Embed and score shuffled cells too, which requires raw counts in ``adata``; most cells to shuffle; and the
        directory of the model that made the embedding, if it is neither bundled nor released.
    key_added
        Start of the keys of the results.
    %(check_space, rng, copy)s

    Returns
    -------
    ``None``, or the changed copy if ``copy``. Writes to ``adata``:

    ``obs[f"{key_added}_score"]``
        Euclidean distance to the k-th nearest reference cell, float32; NaN for cells without an embedding.
    ``obs[f"{key_added}_p_value"]``
        Conformal p-value; small for cells further out than reference cells.
    ``uns[key_added]["table"]``
        A row for ``"adata"`` and, with ``shuffled``, for ``"shuffled"``: ``cells``, ``n_cells``, ``median_score``, and
        the shares of cells with a p-value of at most 0.1, 0.05 and 0.01, ``share_0.1``, ``share_0.05``, ``share_0.01``.
    ``uns[key_added]["calibration"]``
        Sorted distances of reference cells.
    ``uns[key_added]["auroc"]``, ``uns[key_added]["shuffled"]``
        AUROC between shuffled and real cells, and sorted distances of shuffled cells; only with ``shuffled``.
    ``uns[key_added]["params"]``
        Parameters.

    Raises
    ------
    KeyError
        If an embedding, the column, or the record of a space or model does not exist.
    ValueError
        If the spaces or widths differ, the reference has too few cells (outside of a batch), no cell has an embedding,
        the values are not counts, or an option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(cells)
    >>> adata, reference = cells[:100].copy(), cells[100:].copy()
    >>> uc.tl.ood_score(adata, reference, shuffled=True, n_shuffled=50)
    >>> bool(adata.uns["ood"]["auroc"] > 0.5)
    True
    """
    for name, value in (("n_neighbors", n_neighbors), ("n_calibration", n_calibration), ("n_shuffled", n_shuffled)):
        check_whole(name, value, 1)
    seed, k = as_seed(rng), int(n_neighbors)
    data = adata.copy() if copy else adata
    adata, reference = get_modalities(mod, data, reference)
    check_writable(adata)
    query, cells = Cells.read(adata, use_rep), Cells.read(read(reference), use_rep, name="reference")
    query.check_comparable(cells, check_space=check_space)
    if not query.known.any():
        raise ValueError(f"No cell has an embedding: every row of adata.obsm[{use_rep!r}] holds NaN.")

    calibration = _calibrate(cells, k, batch_key, int(n_calibration), seed)
    distance = _distances(query.values, cells, k)
    p = p_values(distance, calibration)
    rows = [_describe("adata", distance[query.known], p[query.known])]
    result: dict[str, Any] = {}
    if shuffled:
        from sklearn.metrics import roc_auc_score

        from univerce.tl.discovery._shuffled import embed_shuffled

        chosen = _choose(query, int(n_shuffled), seed, _DRAW_SHUFFLED)
        far = _distances(embed_shuffled(adata, chosen, query.require_space(), use_rep, model, seed=seed), cells, k)
        rows.append(_describe("shuffled", far, p_values(far, calibration)))
        both = np.concatenate([distance[query.known], far])
        is_shuffled = np.arange(len(both)) >= len(both) - len(far)
        result = {"auroc": float(roc_auc_score(is_shuffled, both)), "shuffled": np.sort(far)}

    adata.obs[f"{key_added}_score"] = distance
    adata.obs[f"{key_added}_p_value"] = p
    adata.uns[key_added] = result | {
        "params": {
            "use_rep": use_rep, "n_neighbors": k, "batch_key": batch_key or "",
            "reference": "AnnData" if isinstance(reference, ad.AnnData) else str(reference),
            "reference_n_obs": len(cells), "seed": seed, "univerce_version": __version__,
        },
        "calibration": calibration,
        "table": pd.DataFrame(rows).rename(index=str),
    }  # fmt: skip
    return data if copy else None


def p_values(distance: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Conformal p-values ``[n]`` among the sorted ``calibration``; NaN stays NaN."""
    below = np.searchsorted(calibration, distance, side="left")
    p = (1 + len(calibration) - below) / (1 + len(calibration))
    return np.where(np.isnan(distance), np.nan, p)


def _describe(name: str, distance: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    shares = {f"share_{level}": float(np.mean(p <= level)) for level in _LEVELS}
    return {"cells": name, "n_cells": len(p), "median_score": float(np.median(distance)), **shares}


def _distances(values: Any, cells: Cells, k: int) -> np.ndarray:
    """``[n]`` float32 distance to the k-th nearest of the cells."""
    pairs = values.shape[0] * len(cells)
    with tqdm(total=pairs, unit="pair", unit_scale=True, desc="score", disable=not settings.progress) as bar:
        return exact_neighbors(values, cells.values, k, done=bar.update)[1][:, -1]


def _calibrate(cells: Cells, k: int, batch_key: str | None, n_calibration: int, seed: int) -> np.ndarray:
    """Sorted distances of reference cells to their k-th nearest other cell, or cell of another batch."""
    if (n_known := int(cells.known.sum())) <= k:
        raise ValueError(f"The reference has {n_known} cells with an embedding; n_neighbors={k} needs {k + 1} or more.")
    chosen = _choose(cells, n_calibration, seed, _DRAW_CALIBRATION)
    points = cells.rows(chosen)
    if batch_key is None:  # the nearest cell is the cell itself, or a copy of it
        return np.sort(exact_neighbors(points, cells.values, k + 1)[1][:, -1])
    batches = cells.labels(batch_key)
    distances = []
    for code in np.unique(batches.codes[chosen]):
        inside = np.asarray(batches.codes == code)
        if (n_outside := int((cells.known & ~inside).sum())) < k:
            name = "cells without a batch" if code < 0 else repr(batches.categories[code])
            raise ValueError(
                f"Outside of {name} the reference has {n_outside} cells with an embedding; n_neighbors={k} needs {k}. "
                f"Leave batch_key={batch_key!r} out, or lower n_neighbors."
            )
        distances.append(exact_neighbors(points[inside[chosen]], _Masked(cells.values, inside), k)[1][:, -1])
    return np.sort(np.concatenate(distances))


def _choose(cells: Cells, most: int, seed: int, draw: int) -> np.ndarray:
    """Rows of a sample of the cells with an embedding, in ascending order."""
    return np.sort(shuffled_rows(cells.names, np.flatnonzero(cells.known), seed, draw=draw)[:most])


class _Masked:
    """An embedding with some rows masked as NaN, read by slicing."""

    def __init__(self, values: Any, masked: np.ndarray) -> None:
        self.values, self.masked, self.shape = values, masked, values.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        block = np.array(self.values[rows], dtype=np.float32)
        block[self.masked[rows]] = np.nan
        return block

"""How far cells lie from all that a reference holds."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import as_seed, check_whole, check_writable, get_modalities
from univerce._version import __version__
from univerce.embeddings.cells import check_comparable, gather, get_embedding, known_cells
from univerce.embeddings.labels import get_labels
from univerce.embeddings.neighbors import exact_neighbors
from univerce.inference.tokens import cell_keys
from univerce.tl.discovery._positives import read

if TYPE_CHECKING:
    from mudata import MuData

logger = logging.getLogger(__name__)
_LEVELS = (0.1, 0.05, 0.01)
_DRAW_CALIBRATION, _DRAW_SHUFFLED = -4, -5


def ood_score(
    adata: ad.AnnData | MuData,
    reference: ad.AnnData | MuData | str | os.PathLike[str],
    *,
    mod: str | None = None,
    use_rep: str = X_UCE,
    n_neighbors: int = 15,
    batch: str | None = None,
    n_calibration: int = 2000,
    shuffled: bool = False,
    n_shuffled: int = 500,
    model: str | Path | None = None,
    key_added: str = "ood",
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
) -> pd.DataFrame:
    """Score how unlike the cells of a reference each cell is: the distance to its k-th nearest of them.

    The distance is calibrated on cells of the reference, whose own k-th nearest other cells are looked up: the p-value
    of a cell is the share of them that lie as far out (a conformal p-value; Bates et al. 2023, equation 4). For cells
    like those of the reference it is spread evenly between 0 and 1. Cells of a new laboratory lie further out than
    those of the reference do from each other, however ordinary they are: with ``batch`` the distances of the reference
    are to cells of other batches, which is the fairer comparison.

    With ``shuffled`` the score is put to a test that it has to pass (Rosen et al. 2024): the counts of real cells are
    permuted over the genes, the cells that never were are embedded by the model that embedded the real ones, and the
    report says how well the score tells the two apart.

    Parameters
    ----------
    adata
        Cells with an embedding. They should not be among those of the reference, where they would meet themselves.
    reference
        AnnData with cells to compare with, an atlas, or the path of an ``.h5ad`` or ``.zarr``, which is read in blocks.
    mod
        Modality, of each that is a MuData.
    use_rep
        Key of the embedding in ``obsm``, in both.
    n_neighbors
        Which nearest cell is taken.
    batch
        Column of ``reference.obs`` with the data set or batch, for the calibration.
    n_calibration
        Most cells of the reference to calibrate on; they are chosen by their names.
    shuffled
        Make, embed and score shuffled cells, which needs counts in ``adata``.
    n_shuffled
        Most cells to shuffle.
    model
        The model that made the embedding, when it is not one that the package knows by name; for ``shuffled``.
    key_added
        Start of the keys that are written.
    check_space
        Demand that both embeddings lie in one space, see :func:`univerce.tl.check_same_space`.
    rng
        Seed, or a generator that is drawn from once.

    Returns
    -------
    What share of the cells has a p-value of at most 0.1, 0.05 and 0.01: a row for ``"adata"``, and one for
    ``"shuffled"``; columns ``cells``, ``n_cells``, ``median_score``, ``share_0.1``, ``share_0.05``, ``share_0.01``.
    Written into ``adata`` are:

    ``obs[f"{key_added}_score"]``
        Euclidean distance to the k-th nearest cell of the reference, float32; NaN for a cell without an embedding.
    ``obs[f"{key_added}_p_value"]``
        Small for cells that lie further out than those of the reference.
    ``uns[key_added]["report"]``
        The same table.
    ``uns[key_added]["calibration"]``
        Sorted distances of the cells of the reference.
    ``uns[key_added]["auroc"]``
        Probability that a shuffled cell has a higher score than a real one; only with ``shuffled``.
    ``uns[key_added]["shuffled"]``
        Sorted distances of the shuffled cells; only with ``shuffled``.
    ``uns[key_added]["params"]``
        What was asked for.

    Raises
    ------
    KeyError
        When an embedding, the column, or the record of a space or model is missing.
    ValueError
        When the spaces or widths differ, the reference has too few cells (outside of a batch), no cell has an
        embedding, the values are not counts, or an option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(cells)
    >>> adata, reference = cells[:100].copy(), cells[100:].copy()
    >>> report = uc.tl.ood_score(adata, reference, shuffled=True, n_shuffled=50)
    >>> bool(adata.uns["ood"]["auroc"] > 0.5)
    True
    """
    adata, reference = get_modalities(mod, adata, reference)
    check_writable(adata)
    for name, value in (("n_neighbors", n_neighbors), ("n_calibration", n_calibration), ("n_shuffled", n_shuffled)):
        check_whole(name, value, 1)
    seed, k = as_seed(rng), int(n_neighbors)
    where = "AnnData" if isinstance(reference, ad.AnnData) else str(reference)
    others = read(reference)
    check_comparable(adata, others, use_rep, check_space=check_space, names=("adata", "reference"))
    query, cells = get_embedding(adata, use_rep), get_embedding(others, use_rep, name="reference")
    known = known_cells(query)
    if not known.any():
        raise ValueError(f"No cell has an embedding: every row of adata.obsm[{use_rep!r}] holds NaN.")
    calibration = _calibrate(others, cells, k, batch, int(n_calibration), seed)
    show = settings.progress

    def score(rep: Any) -> np.ndarray:
        pairs = rep.shape[0] * cells.shape[0]
        with tqdm(total=pairs, unit="pair", unit_scale=True, desc="score", disable=not show) as bar:
            return exact_neighbors(rep, cells, k, done=bar.update)[1][:, -1]

    distance = score(query)
    p = p_values(distance, calibration)
    rows = [_describe("adata", distance[known], p[known])]
    result: dict[str, Any] = {}
    if shuffled:
        from univerce.tl.discovery._shuffled import embed_shuffled

        chosen = _choose(adata.obs_names, np.flatnonzero(known), int(n_shuffled), seed, _DRAW_SHUFFLED)
        false = score(embed_shuffled(adata, chosen, use_rep, model, seed=seed))
        rows.append(_describe("shuffled", false, p_values(false, calibration)))
        result |= {"auroc": auroc(false, distance[known]), "shuffled": np.sort(false)}
    if (~known).any():
        logger.info("%s of %s cells have no embedding and no score.", f"{(~known).sum():,}", f"{len(known):,}")
    report = pd.DataFrame(rows, index=[str(i) for i in range(len(rows))])
    adata.obs[f"{key_added}_score"] = distance
    adata.obs[f"{key_added}_p_value"] = p
    adata.uns[key_added] = result | {
        "params": {
            "use_rep": use_rep, "n_neighbors": k, "batch": batch or "", "reference": where,
            "reference_n_obs": others.n_obs, "seed": seed, "univerce_version": __version__,
        },
        "calibration": calibration,
        "report": report.copy(),
    }  # fmt: skip
    return report


def p_values(distance: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """Share of the calibration distances, and of itself, that are at least as large; NaN stays NaN.

    Parameters
    ----------
    distance
        ``[n]``.
    calibration
        ``[n_calibration]``, sorted.
    """
    below = np.searchsorted(calibration, distance, side="left")
    p = (1 + len(calibration) - below) / (1 + len(calibration))
    return np.where(np.isnan(distance), np.nan, p)


def auroc(high: np.ndarray, low: np.ndarray) -> float:
    """Probability that one of ``high`` is larger than one of ``low``; equal ones count half."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(high, low).statistic / (len(high) * len(low)))


def _describe(name: str, distance: np.ndarray, p: np.ndarray) -> dict[str, Any]:
    shares = {f"share_{level}": float(np.mean(p <= level)) for level in _LEVELS}
    return {"cells": name, "n_cells": len(p), "median_score": float(np.median(distance)), **shares}


def _calibrate(
    reference: ad.AnnData, cells: Any, k: int, batch: str | None, n_calibration: int, seed: int
) -> np.ndarray:
    """Sorted distances of cells of the reference to their k-th nearest other cell, or cell of another batch."""
    known = known_cells(cells)
    if known.sum() <= k:
        raise ValueError(
            f"The reference has {known.sum()} cells with an embedding; n_neighbors={k} needs {k + 1} or more."
        )
    chosen = _choose(reference.obs_names, np.flatnonzero(known), n_calibration, seed, _DRAW_CALIBRATION)
    points = gather(cells, chosen)
    if batch is None:  # a cell is its own nearest, or as near as its copies
        return np.sort(exact_neighbors(points, cells, k + 1)[1][:, -1])
    batches = get_labels(reference.obs, batch, name="reference")
    out = []
    for code in np.unique(batches.codes[chosen]):
        inside = np.asarray(batches.codes == code)
        if (n_outside := int((known & ~inside).sum())) < k:
            name = "cells without one" if code < 0 else repr(batches.categories[code])
            raise ValueError(
                f"Outside of {name} the reference has {n_outside} cells with an embedding; n_neighbors={k} needs as "
                f"many. Leave batch={batch!r} out, or lower n_neighbors."
            )
        out.append(exact_neighbors(points[inside[chosen]], _Without(cells, inside), k)[1][:, -1])
    return np.sort(np.concatenate(out))


def _choose(names: pd.Index, rows: np.ndarray, most: int, seed: int, draw: int) -> np.ndarray:
    """At most so many of the rows, by the names of their cells, in ascending order."""
    keys = cell_keys(names[rows].astype(str).to_numpy(object), seed, draw=draw)
    return np.sort(rows[np.argsort(keys, kind="stable")[:most]])


class _Without:
    """An embedding some of whose rows are missing, read by slicing."""

    def __init__(self, rep: Any, missing: np.ndarray) -> None:
        self.rep, self.missing, self.shape = rep, missing, rep.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        block = np.array(self.rep[rows], dtype=np.float32)
        block[self.missing[rows]] = np.nan
        return block

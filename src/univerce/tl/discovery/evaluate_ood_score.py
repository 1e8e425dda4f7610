"""Evaluate how well cells of an unseen type are told from the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import progress_bar, settings
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce._version import __version__
from univerce.embeddings.cells import Cells, known_in_all
from univerce.embeddings.groups import get_groups
from univerce.inference.sentences import shuffled_rows
from univerce.tl.discovery._neighbor_distances import calibrate, neighbor_distances, p_values

if TYPE_CHECKING:
    from mudata import MuData

_LEVEL = 0.05
_DRAW = -6


@document
def evaluate_ood_score(
    adata: ad.AnnData | MuData,
    *,
    groupby: str = "cell_type",
    mod: str | None = None,
    use_reps: str | Sequence[str] = (X_UCE,),
    n_neighbors: int = 15,
    batch_key: str | None = None,
    min_cells: int = 10,
    rng: int | np.random.Generator = 0,
    key_added: str = "ood_evaluation",
) -> pd.DataFrame:
    """Hold out each cell type, and measure how well :func:`ood_score` finds its cells.

    The cells of the other types are split into random halves. One half is the reference. Cells of the held-out type
    should score higher than those of the other half. Pass an embedding of log-normalized expression in ``use_reps`` as
    a baseline. If it was fitted to all cells, it has seen the held-out type.

    Parameters
    ----------
    %(adata, groupby, mod)s
    use_reps
        Keys of the embeddings in ``obsm``.
    n_neighbors
        Rank k of the reference cell to which the distance is measured.
    batch_key
        Column of ``obs`` with the batches. If given, batches are split instead of cells, which measures the score in a
        new batch.
    %(min_cells)s
    rng
        Seed or generator. The split depends on cell names, not on their order.
    %(key_added)s

    Returns
    -------
    A row per ``type`` and ``use_rep``: ``n_cells`` held out, ``auroc`` between them and the other half, and the shares
    with a p-value of at most 0.05 among the held-out cells (``flagged``) and the other half (``flagged_others``, 0.05
    if calibrated). Writes:

    %(written)s
    ``uns[key_added]["summary"]``
        For each ``use_rep`` the means over the types.

    Raises
    ------
    KeyError
        If an embedding or a column does not exist.
    ValueError
        If there are fewer than two types, ``batch_key`` has fewer than two batches without a type, a half has too few
        cells, or an option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> table = uc.tl.evaluate_ood_score(adata, groupby="cell_type")
    >>> table.loc[table["type"] == "CD19+ B", "auroc"].item() > 0.5
    True
    """
    adata = get_modality(adata, mod)
    keys = [use_reps] if isinstance(use_reps, str) else list(dict.fromkeys(use_reps))
    if not keys:
        raise ValueError("use_reps is empty; name at least one embedding in obsm.")
    check_whole("n_neighbors", n_neighbors, 1)
    check_whole("min_cells", min_cells, 1)
    check_writable(adata, key_added)
    seed = as_seed(rng)
    embeddings = [Cells.read(adata, key) for key in keys]
    groups = get_groups(embeddings[0], [groupby], known_in_all(*embeddings), min_cells=min_cells)
    types = groups.table[groupby].tolist()
    if len(types) < 2:
        raise ValueError(f"obs[{groupby!r}] has one type with min_cells={min_cells} cells; two are needed.")

    rows = list(_held_out(embeddings, groups.codes, types, int(n_neighbors), batch_key, seed))
    table = pd.DataFrame(rows)
    measures = ["auroc", "flagged", "flagged_others"]
    adata.uns[key_added] = {
        "params": {
            "groupby": groupby, "use_reps": keys, "n_neighbors": int(n_neighbors), "batch_key": batch_key or "",
            "min_cells": int(min_cells), "seed": seed, "univerce_version": __version__,
        },
        "table": table.rename(index=str),
        "summary": table.groupby("use_rep", sort=False)[measures].mean().reset_index().rename(index=str),
    }  # fmt: skip
    return table


def _held_out(
    embeddings: Sequence[Cells], codes: np.ndarray, types: list[str], k: int, batch_key: str | None, seed: int
) -> Iterator[dict[str, Any]]:
    from sklearn.metrics import roc_auc_score

    for code, name in enumerate(progress_bar(types, desc="evaluate", unit="type")):
        held_out = np.flatnonzero(codes == code)
        half = _in_reference(embeddings[0], np.flatnonzero((codes >= 0) & (codes != code)), batch_key, seed)
        is_held_out = np.repeat([True, False], [len(held_out), (~half[1]).sum()])
        query = np.concatenate([held_out, half[0][~half[1]]])
        for cells in embeddings:
            reference = half[0][half[1]]
            known = replace(
                cells, values=cells.rows(reference), obs=cells.obs.iloc[reference], name="the reference half"
            )
            calibration = calibrate(known, k, batch_key, len(known), seed)
            with settings.override(progress=False):
                distance = neighbor_distances(cells.rows(query), known, k)
            flagged = p_values(distance, calibration) <= _LEVEL
            yield {
                "type": name, "use_rep": cells.use_rep, "n_cells": len(held_out),
                "auroc": float(roc_auc_score(is_held_out, distance)), "flagged": float(flagged[is_held_out].mean()),
                "flagged_others": float(flagged[~is_held_out].mean()),
            }  # fmt: skip


def _in_reference(cells: Cells, rows: np.ndarray, batch_key: str | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Shuffled ``rows``, and which of them are in the reference half."""
    rows = shuffled_rows(cells.names, rows, seed, draw=_DRAW)
    if batch_key is None:
        return rows, np.arange(len(rows)) % 2 == 0
    batches = cells.labels(batch_key)[rows]
    order = np.random.default_rng(seed).permutation(len(batches.categories))
    if len(present := [code for code in order if code in batches.codes]) < 2:
        raise ValueError(f"obs[{batch_key!r}] has one batch without a held-out type; leave batch_key out.")
    return rows, np.isin(batches.codes, present[::2])

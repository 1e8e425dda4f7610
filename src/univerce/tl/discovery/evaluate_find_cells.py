"""Hide a cell type, and see whether it is found again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import progress_bar
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import Cells, known_in_all
from univerce.embeddings.groups import has_counts, lognorm_blocks
from univerce.embeddings.labels import get_labels
from univerce.inference.sentences import cell_keys
from univerce.tl.discovery._positives import fit_detector, label_cells

if TYPE_CHECKING:
    from mudata import MuData

PCA = "lognorm_pca"
_MIN_CELLS = 5


@document
def evaluate_find_cells(
    adata: ad.AnnData | MuData,
    groupby: str,
    *,
    batch_key: str | None = None,
    use_reps: str | Sequence[str] = X_UCE,
    mod: str | None = None,
    layer: str | None = None,
    n_comps: int = 50,
    min_cells: int = 10,
    max_cells: int | None = 1000,
    rng: int | np.random.Generator = 0,
    key_added: str = "evaluate_find_cells",
) -> pd.DataFrame:
    """Hide each cell type in one batch, fit to the other batches, and score how well the type is found.

    For every type, batch and embedding a classifier is fitted as in :func:`univerce.tl.find_cells`, with the cells of
    the type in the other batches as positives, and scans the hidden batch. With counts, the principal components of
    log-normalized expression of all cells are scored as well: the baseline for any embedding.

    Parameters
    ----------
    adata
        Labeled cells with embeddings.
    groupby
        Column of ``obs`` with the types; cells without a label are left out.
    batch_key
        Column of ``obs`` with the batches to hide, such as data sets or donors. ``None`` hides random halves. This
        overestimates the performance in other data sets, where cells are harder to find.
    use_reps
        Key or keys of embeddings in ``obsm``.
    %(mod, layer)s
    n_comps
        Number of principal components of the baseline.
    min_cells
        Types with fewer cells are left out. At least 5 cells of a type must lie inside a batch, and 5 outside.
    max_cells
        Maximum number of positives and of negatives to fit; ``None`` takes all.
    %(rng, key_added)s

    Returns
    -------
    DataFrame with a row per type and embedding: ``type``, ``use_rep`` (``"lognorm_pca"`` for the principal components),
    ``n_hidden`` and ``n_found`` cells over all batches, ``precision`` (NaN if nothing is found) and ``recall`` at a
    probability of 0.5, mean ``average_precision`` over the batches, and ``prevalence``, the average precision of a
    random order. Sets the following fields:

    ``uns[key_added]["table"]``, ``uns[key_added]["params"]``
        The same table, and parameters.

    Raises
    ------
    KeyError
        If an embedding or a column does not exist.
    ValueError
        If no type can be hidden, the values are not counts, or an option is out of range.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> table = uc.tl.evaluate_find_cells(adata, "cell_type", min_cells=100, n_comps=20)
    >>> table["use_rep"].unique().tolist()
    ['X_uce', 'lognorm_pca']
    """
    adata = get_modality(adata, mod)
    check_whole("min_cells", min_cells, 2 * _MIN_CELLS)
    check_whole("n_comps", n_comps, 1)
    keys = [use_reps] if isinstance(use_reps, str) else list(dict.fromkeys(use_reps))
    if not keys:
        raise ValueError("use_reps is empty. Name at least one embedding in obsm.")
    check_writable(adata, key_added)
    seed = as_seed(rng)
    labels = get_labels(adata.obs, groupby)
    if len(labels.categories) < 2:
        raise ValueError(f"obs[{groupby!r}] has one type, {labels.categories[0]!r}; hiding one requires two.")
    cells = [Cells.read(adata, key) for key in keys]
    known = known_in_all(*cells) & (labels.codes >= 0)
    reps = {c.use_rep: np.asarray(c.values) for c in cells}
    if has_counts(adata, layer):
        reps[PCA] = _components(adata, layer, n_comps)
    batches = _batches(adata, batch_key, seed)
    trials = [
        (str(label), batch)
        for code, label in enumerate(labels.categories)
        if (of_type := known & (labels.codes == code)).sum() >= min_cells
        for batch in range(batches.max() + 1)
        if min((of_type & (batches == batch)).sum(), (of_type & (batches >= 0) & (batches != batch)).sum())
        >= _MIN_CELLS
    ]
    if not trials:
        raise ValueError(
            f"No type of obs[{groupby!r}] can be hidden: none has min_cells={min_cells} cells, {_MIN_CELLS} of them "
            f"inside and outside of one {'half' if batch_key is None else f'value of obs[{batch_key!r}]'}."
        )
    options = {"max_cells": max_cells, "n_folds": 2, "rng": seed}
    rows = []
    with progress_bar(total=len(trials) * len(reps), unit="fit", desc="evaluate") as bar:
        for label, batch in trials:
            hidden = known & (batches == batch)
            fitted = known & (batches >= 0) & (batches != batch)
            for key, rep in reps.items():
                obs = pd.DataFrame({"type": labels[fitted]}, index=adata.obs_names[fitted])
                reference = ad.AnnData(obs=obs, obsm={"rep": rep[fitted]})
                scores = _search(reference, label, rep[hidden], np.asarray(labels[hidden] == label), options)
                rows.append({"type": label, "use_rep": key} | scores)
                bar.update()
    grouped = pd.DataFrame(rows).groupby(["type", "use_rep"], sort=False)
    table = grouped[["n_hidden", "n_found", "n_true"]].sum()
    table["precision"] = table["n_true"] / table["n_found"].where(table["n_found"] > 0)
    table["recall"] = table["n_true"] / table["n_hidden"]
    table[["average_precision", "prevalence"]] = grouped[["average_precision", "prevalence"]].mean()
    table = table.drop(columns="n_true").reset_index().rename(index=str)
    adata.uns[key_added] = {
        "table": table.copy(),
        "params": {
            "groupby": groupby, "batch_key": batch_key or "", "layer": layer or "X", "n_comps": int(n_comps),
            "min_cells": int(min_cells), "max_cells": max_cells or 0, "seed": seed,
        },
    }  # fmt: skip
    return table


def _components(adata: ad.AnnData, layer: str | None, n_comps: int) -> np.ndarray:
    from scanpy.pp import pca

    blocks = [block for _, block in lognorm_blocks(adata, layer, np.arange(adata.n_vars), "adata")]
    values = sp.csr_matrix(sp.vstack(blocks))
    return np.asarray(pca(values, n_comps=min(n_comps, min(values.shape) - 1), random_state=0))


def _batches(adata: ad.AnnData, batch_key: str | None, seed: int) -> np.ndarray:
    """``[n_obs]`` code of the batch, -1 for none; random halves depend on the names of the cells alone."""
    if batch_key is not None:
        return np.asarray(get_labels(adata.obs, batch_key).codes, dtype=np.int64)
    return (cell_keys(adata.obs_names.to_numpy(object), seed, draw=-2) % np.uint64(2)).astype(np.int64)


def _search(
    reference: ad.AnnData, label: str, hidden: np.ndarray, truth: np.ndarray, options: dict[str, Any]
) -> dict[str, Any]:
    """Learn a type from the reference and find it among the hidden cells ``[n, n_dims]``."""
    from sklearn.metrics import average_precision_score

    detector = fit_detector(label_cells(reference, None, "type", label, "rep"), options)
    score = detector.score(detector.classifier.predict_proba(hidden), detector.prevalence)
    is_found = score >= 0.5
    average = np.nan if truth.all() else average_precision_score(truth, score)
    counts = {"n_hidden": int(truth.sum()), "n_found": int(is_found.sum()), "n_true": int((truth & is_found).sum())}
    return counts | {"average_precision": average, "prevalence": float(truth.mean())}

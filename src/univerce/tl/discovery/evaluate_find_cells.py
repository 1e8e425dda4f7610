"""Would a hidden cell type be found?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from tqdm.auto import tqdm

from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import get_embedding, known_cells
from univerce.embeddings.groups import has_counts, lognorm_blocks
from univerce.embeddings.labels import get_labels
from univerce.inference.tokens import cell_keys
from univerce.tl.discovery import _statistics as kernels
from univerce.tl.discovery._positives import SOUGHT, fit_finder, label_cells

if TYPE_CHECKING:
    from mudata import MuData

PCA = "lognorm_pca"
_MIN_CELLS = 5


def evaluate_find_cells(
    adata: ad.AnnData | MuData,
    groupby: str,
    *,
    split: str | None = None,
    use_reps: str | Sequence[str] = X_UCE,
    mod: str | None = None,
    layer: str | None = None,
    n_comps: int = 50,
    min_cells: int = 20,
    max_cells: int | None = 1000,
    rng: int | np.random.Generator = 0,
    key_added: str = "evaluate_find_cells",
) -> pd.DataFrame:
    """Hide each cell type in one part of the cells, learn it in the others, and see whether it is found again.

    For every type, part and embedding a classifier is fitted as in :func:`univerce.tl.find_cells`, with the cells of
    the type in the other parts as positives, and scans the part. When there are counts the same is done with the
    principal components of log-normalized expression, of all cells together, which any method has to beat.

    Parameters
    ----------
    adata
        Labeled cells with embeddings; results are written into ``uns``.
    groupby
        Column of ``obs`` with the types; cells without one are left out.
    split
        Column of ``obs`` with the parts, such as data sets or donors, each of which is hidden once. ``None`` makes two
        halves at random: that says nothing of other data sets, in which cells are harder to find.
    use_reps
        Key or keys of embeddings in ``obsm``.
    mod
        Modality, when ``adata`` is a MuData.
    layer
        Layer with the counts, for the principal components; ``None`` is ``X``. Without values there is no such row.
    n_comps
        Number of principal components.
    min_cells
        Fewest cells of a type; at least 5 of them must lie within a part, and outside of it, for that part to count.
    max_cells
        Most cells of each kind that are learned from; ``None`` uses all.
    rng
        Seed, or a generator that is drawn from once.
    key_added
        Key in ``uns``.

    Returns
    -------
    A row for each type and embedding: ``type``, ``use_rep`` (``"lognorm_pca"`` for the principal components),
    ``n_hidden`` and ``n_found`` cells over the parts, ``precision`` and ``recall`` at a probability of 0.5, and
    ``average_precision`` (the mean over the parts) beside that of a random order, ``prevalence``. A precision of
    nothing is NaN. Written are:

    ``uns[key_added]["scores"]``
        The same table, which :func:`univerce.pl.evaluate_find_cells` draws.
    ``uns[key_added]["params"]``
        What was asked for.

    Raises
    ------
    KeyError
        When an embedding or a column does not exist.
    ValueError
        When no type can be hidden, the values are not counts, or an option is out of range.

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
    keys = [use_reps] if isinstance(use_reps, str) else list(dict.fromkeys(use_reps))
    for name, value, low in (("min_cells", min_cells, 2 * _MIN_CELLS), ("n_comps", n_comps, 1)):
        check_whole(name, value, low)
    if not keys:
        raise ValueError("use_reps is empty; name at least one embedding in obsm.")
    check_writable(adata)
    seed = as_seed(rng)
    labels = get_labels(adata.obs, groupby)
    if len(labels.categories) < 2:
        raise ValueError(f"obs[{groupby!r}] has one type, {labels.categories[0]!r}; to hide one takes two.")
    known = np.logical_and.reduce([known_cells(get_embedding(adata, key)) for key in keys]) & (labels.codes >= 0)
    reps = {key: get_embedding(adata, key) for key in keys}
    if has_counts(adata, layer):
        reps[PCA] = _components(adata, layer, n_comps)
    parts = _parts(adata, split, seed)
    trials = [
        (str(label), part)
        for code, label in enumerate(labels.categories)
        if (here := known & (labels.codes == code)).sum() >= min_cells
        for part in range(parts.max() + 1)
        if min((here & (parts == part)).sum(), (here & (parts >= 0) & (parts != part)).sum()) >= _MIN_CELLS
    ]
    if not trials:
        raise ValueError(
            f"No type of obs[{groupby!r}] can be hidden: none has min_cells={min_cells} cells, {_MIN_CELLS} of them "
            f"within and outside of one part{'' if split is None else f' of obs[{split!r}]'}."
        )
    rows = []
    show = settings.progress
    with tqdm(total=len(trials) * len(reps), unit="search", desc="evaluate", disable=not show) as bar:
        for label, part in trials:
            for key, rep in reps.items():
                rows.append({"type": label, "use_rep": key} | _search(
                    adata, labels, rep, label, known & (parts >= 0) & (parts != part), known & (parts == part),
                    max_cells, seed,
                ))  # fmt: skip
                bar.update()
    table = _summarize(pd.DataFrame(rows)).rename(index=str)
    adata.uns[key_added] = {
        "scores": table.copy(),
        "params": {
            "groupby": groupby, "split": split or "", "layer": layer or "X", "n_comps": int(n_comps),
            "min_cells": int(min_cells), "max_cells": max_cells or 0, "seed": seed,
        },
    }  # fmt: skip
    return table


def _components(adata: ad.AnnData, layer: str | None, n_comps: int) -> np.ndarray:
    from scanpy.pp import pca

    blocks = [block for _, block in lognorm_blocks(adata, layer, np.arange(adata.n_vars), "adata")]
    values = sp.csr_matrix(sp.vstack(blocks))
    return np.asarray(pca(values, n_comps=min(n_comps, min(values.shape) - 1), random_state=0))


def _parts(adata: ad.AnnData, split: str | None, seed: int) -> np.ndarray:
    """``[n_obs]`` part of each cell, -1 for none; halves follow from the names of the cells."""
    if split is not None:
        return np.asarray(get_labels(adata.obs, split).codes, dtype=np.int64)
    return (cell_keys(adata.obs_names.to_numpy(object), seed, draw=-2) % np.uint64(2)).astype(np.int64)


def _search(
    adata: ad.AnnData, labels: pd.Categorical, rep: Any, label: str, taught: np.ndarray, hidden: np.ndarray,
    max_cells: int | None, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Learn a type in some cells and find it in the others."""
    rows = np.flatnonzero(taught)
    names = adata.obs_names[rows]
    known = ad.AnnData(obs=pd.DataFrame({"type": labels[rows]}, index=names), obsm={"rep": np.asarray(rep)[rows]})
    finder = fit_finder(
        label_cells(known, None, "type", label), use_rep="rep", batch=None, max_cells=max_cells, n_folds=2, seed=seed,
    )  # fmt: skip
    column = finder.classifier.classes.index.get_loc(SOUGHT)
    proba = finder.classifier.predict_proba(np.asarray(rep)[hidden])[:, column].astype(np.float64)
    score, true = kernels.shift_prior(proba, finder.taught, finder.prevalence), np.asarray(labels[hidden] == label)
    curve = kernels.precision_recall(score, true, float(true.mean())) if not true.all() else None
    return {
        "n_hidden": int(true.sum()), "n_found": int((score >= 0.5).sum()), "n_right": int(true[score >= 0.5].sum()),
        "average_precision": np.nan if curve is None else kernels.average_precision(curve),
        "prevalence": float(true.mean()),
    }  # fmt: skip


def _summarize(trials: pd.DataFrame) -> pd.DataFrame:
    grouped = trials.groupby(["type", "use_rep"], sort=False)
    table = grouped[["n_hidden", "n_found", "n_right"]].sum()
    table["precision"] = table["n_right"] / table["n_found"].where(table["n_found"] > 0)
    table["recall"] = table["n_right"] / table["n_hidden"]
    table[["average_precision", "prevalence"]] = grouped[["average_precision", "prevalence"]].mean()
    return table.drop(columns="n_right").reset_index()

"""What the methods share: normalized expression, variable genes, batches."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

TARGET_SUM = 1e4
_SMALL_BATCH = 20


def log_normalize(adata: ad.AnnData) -> None:
    """Scale the counts of every cell in ``X`` to 10,000 and take log(1 + x), in place; an empty cell stays zero."""
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some cells have zero counts")
        sc.pp.normalize_total(adata, target_sum=TARGET_SUM)
    sc.pp.log1p(adata)


def variable_genes(adata: ad.AnnData, n_top_genes: int, *, batch: str | None = None) -> np.ndarray:
    """``[n_vars]`` which variables are the most variable ones (scanpy's default of dispersion in bins of the mean).

    Parameters
    ----------
    adata
        Log-normalized expression in ``X``.
    n_top_genes
        How many; all when there are no more.
    batch
        Column of ``obs``. Genes are then ranked by the number of batches that they vary in, so that those that differ
        only between batches are no use. Batches of fewer than 20 cells have no vote, unless there are no others.
    """
    import scanpy as sc

    if adata.n_vars <= n_top_genes:
        return np.ones(adata.n_vars, dtype=bool)
    bare = ad.AnnData(adata.X)  # numbers for names: those of variables may repeat
    bare.uns["log1p"] = {"base": None}
    by = None
    if batch is not None:
        bare.obs["batch"] = adata.obs[batch].astype(str).to_numpy()
        large = (bare.obs["batch"].map(bare.obs["batch"].value_counts()) >= _SMALL_BATCH).to_numpy()
        if large.any():
            bare, by = bare[large].copy(), "batch"
    chosen = sc.pp.highly_variable_genes(bare, n_top_genes=n_top_genes, batch_key=by, inplace=False)
    return chosen["highly_variable"].reindex(bare.var_names).to_numpy(dtype=bool)


def with_variable_genes(adata: ad.AnnData, n_top_genes: int, *, batch: str | None = None) -> ad.AnnData:
    """The counts of the variable genes, ``[n_obs, n_top_genes]`` float32 in CSR, for models of counts."""
    scaled = ad.AnnData(adata.X.copy(), obs=adata.obs)
    log_normalize(scaled)
    subset = adata[:, variable_genes(scaled, n_top_genes, batch=batch)].copy()
    subset.X = sp.csr_matrix(subset.X, dtype=np.float32)
    return subset


def batch_names(adata: ad.AnnData, batch: str, method: str) -> pd.Series:
    """The batch of each cell as text; ``ValueError`` when a cell lacks one."""
    column = adata.obs[batch]
    if column.isna().any():
        raise ValueError(f"obs[{batch!r}] is missing in {int(column.isna().sum())} cells; {method} needs it in all.")
    return column.astype(str)


def require_batches(adata: ad.AnnData, batch: str | None, method: str) -> pd.Series:
    """The batch of each cell as text.

    Raises
    ------
    ValueError
        When no batch is named, a cell lacks one, or there is only one.
    """
    if batch is None:
        raise ValueError(f"{method} needs batches: pass batch= with the column of obs that holds them.")
    names = batch_names(adata, batch, method)
    if names.nunique() < 2:
        raise ValueError(f"{method} needs two batches or more; obs[{batch!r}] holds only {names.iloc[0]!r}.")
    return names

"""Counts, log-normalized expression, variable genes, principal components and batches."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._validate import check_counts, counts_elsewhere, get_layer, layer_name
from univerce.io.blocks import iter_blocks

N_OPEN_PROBLEMS = 2000
"""Variable genes in Open Problems."""
_TARGET_SUM = 1e4
_SMALL_BATCH = 20

_BLOCK_ROWS = 8192


def log_normalized(counts: ad.AnnData) -> ad.AnnData:
    """``log(1 + counts per 10,000)`` in float32, with the ``obs`` of the counts. An empty cell stays zero."""
    import scanpy as sc

    out = ad.AnnData(counts.X.astype(np.float32), obs=counts.obs, var=pd.DataFrame(index=counts.var_names))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some cells have zero counts|Variable names are not unique")
        sc.pp.normalize_total(out, target_sum=_TARGET_SUM)
    sc.pp.log1p(out)
    return out


def variable_genes(
    logs: ad.AnnData,
    n_top_genes: int,
    *,
    batch_key: str | None = None,
    flavor: Literal["seurat", "cell_ranger"] = "seurat",
) -> np.ndarray:
    """``[n_vars]`` mask of the highly variable genes of :func:`log_normalized` data.

    With ``batch_key``, genes are ranked by the number of batches in which they are variable. ``"seurat"`` then uses
    batches of 20 cells or more, if there are any; ``"cell_ranger"`` uses all, as Open Problems does.
    """
    import scanpy as sc

    if logs.n_vars <= n_top_genes:
        return np.ones(logs.n_vars, dtype=bool)
    bare = ad.AnnData(logs.X)  # numbered variables: names may repeat
    bare.uns["log1p"] = {"base": None}
    by = None
    if batch_key is not None:
        bare.obs["batch"] = logs.obs[batch_key].astype(str).astype("category").to_numpy()
        by = "batch"
        if flavor == "seurat":
            large = (bare.obs["batch"].map(bare.obs["batch"].value_counts()).astype(int) >= _SMALL_BATCH).to_numpy()
            bare, by = (bare[large].copy(), by) if large.any() else (bare, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # genes that a batch does not express
        found = sc.pp.highly_variable_genes(bare, n_top_genes=n_top_genes, flavor=flavor, batch_key=by, inplace=False)
    return found["highly_variable"].reindex(bare.var_names).to_numpy(dtype=bool)


def open_problems_genes(counts: ad.AnnData, batch_key: str | None) -> np.ndarray:
    """``[n_vars]`` mask of the 2,000 genes that Open Problems chooses."""
    return variable_genes(log_normalized(counts), N_OPEN_PROBLEMS, batch_key=batch_key, flavor="cell_ranger")


def principal_components(
    counts: ad.AnnData, *, n_top_genes: int | None = None, batch_key: str | None = None, n_comps: int = 50, rng: int = 0
) -> np.ndarray:
    """``[n_obs, n_comps]`` components of log-normalized variable genes (None: of all), or as many as there can be."""
    import scanpy as sc

    logs = log_normalized(counts)
    if n_top_genes is not None:
        logs = logs[:, variable_genes(logs, n_top_genes, batch_key=batch_key)].copy()
    x = sp.csr_matrix(logs.X)
    n_comps = min(n_comps, logs.n_obs - 1, logs.n_vars - 1)
    return np.asarray(sc.pp.pca(x, n_comps=n_comps, svd_solver="arpack", random_state=rng), dtype=np.float32)


def dense(x: Any) -> np.ndarray:
    """Float32 numpy array."""
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float32)


def batch_names(adata: ad.AnnData, batch_key: str | None, method: str, *, at_least: int = 2) -> pd.Series:
    """The batch of each cell as text; ``ValueError`` if one is missing or there are fewer than ``at_least``."""
    if batch_key is None:
        raise ValueError(f"{method} needs batches: pass batch_key= with the column of obs that holds them.")
    column = adata.obs[batch_key]
    if missing := int(column.isna().sum()):
        raise ValueError(f"obs[{batch_key!r}] is missing in {missing} cells; {method} needs it in all.")
    names = column.astype(str)
    if names.nunique() < at_least:
        raise ValueError(f"{method} needs two batches or more; obs[{batch_key!r}] holds only {names.iloc[0]!r}.")
    return names


def get_counts(adata: ad.AnnData, layer: str | None, *, name: str = "") -> Any:
    """Read the counts into memory, from a file or a dask array too; ``ValueError`` if they are not counts."""
    x = get_layer(adata, layer)
    if not (isinstance(x, np.ndarray) or sp.issparse(x)) or x.dtype == np.float16:  # scipy has no float16
        x = sp.vstack([block for _, block in iter_blocks(x, _BLOCK_ROWS)], format="csr")
    where = f"{name}: {layer_name(layer)}" if name else layer_name(layer)
    check_counts(x, where=where, fix=partial(counts_elsewhere, adata, layer, raw=False))
    return x

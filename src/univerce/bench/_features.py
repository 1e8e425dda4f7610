"""The genes of the two modes of the benchmark, and principal components of expression."""

from __future__ import annotations

import warnings
from typing import Final

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

N_OPEN_PROBLEMS: Final = 2000
_TARGET_SUM = 1e4


def log_normalized(counts: ad.AnnData) -> ad.AnnData:
    """Logarithm of the counts per 10,000 of a cell, in float32."""
    import scanpy as sc

    out = ad.AnnData(counts.X.astype(np.float32), obs=counts.obs, var=pd.DataFrame(index=counts.var_names))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some cells have zero counts")
        sc.pp.normalize_total(out, target_sum=_TARGET_SUM)
    sc.pp.log1p(out)
    return out


def variable_genes(counts: ad.AnnData, batch: str | None) -> np.ndarray:
    """``[n_vars]`` the 2,000 genes that Open Problems chooses: ``cell_ranger``, those variable in most batches
    first.
    """
    import scanpy as sc

    if counts.n_vars <= N_OPEN_PROBLEMS:
        return np.ones(counts.n_vars, dtype=bool)
    logs = log_normalized(counts)
    logs.var_names = [str(i) for i in range(logs.n_vars)]
    if batch is not None:
        logs.obs = pd.DataFrame({"batch": logs.obs[batch].astype(str).astype("category")}, index=logs.obs_names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of batches in which many genes are silent
        found = sc.pp.highly_variable_genes(
            logs, n_top_genes=N_OPEN_PROBLEMS, flavor="cell_ranger", batch_key=None if batch is None else "batch",
            inplace=False,
        )  # fmt: skip
    return found["highly_variable"].reindex(logs.var_names).to_numpy(dtype=bool)


def principal_components(counts: ad.AnnData) -> np.ndarray:
    """``[n_obs, 50]`` of the log-normalized expression of all genes, or as many as there can be."""
    import scanpy as sc

    logs = log_normalized(counts)
    logs.X = sp.csr_matrix(logs.X)
    n_comps = min(50, logs.n_obs - 1, logs.n_vars - 1)
    return np.asarray(sc.pp.pca(logs.X, n_comps=n_comps, svd_solver="arpack", random_state=0), dtype=np.float32)

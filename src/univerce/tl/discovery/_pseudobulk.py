"""Counts of found cells, their sums per sample, and the genes with enough of them."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._validate import check_counts, counts_elsewhere, get_layer, layer_name
from univerce.embeddings.groups import has_counts
from univerce.io.blocks import read_all

_TOLERANCE = 1e-14


def read_counts(adata: ad.AnnData, layer: str | None) -> sp.csr_matrix:
    """Read and check the counts ``[n_obs, n_vars]`` and the names of the genes."""
    if not has_counts(adata, layer):
        raise ValueError(
            "adata holds no expression. An atlas has embeddings only: use the AnnData with the counts, and copy obs "
            "from the atlas by cell name."
        )
    X = read_all(get_layer(adata, layer))
    check_counts(X, where=layer_name(layer), fix=partial(counts_elsewhere, adata, layer, raw=False))
    if repeated := adata.var_names[adata.var_names.duplicated()].unique()[:3].tolist():
        raise ValueError(f"var_names repeat, such as {repeated}. Call adata.var_names_make_unique() first.")
    return X


def get_found(adata: ad.AnnData, key: str) -> np.ndarray:
    """``[n_obs]`` int8: 1 for found cells, 0 for others, -1 if unknown."""
    if key not in adata.obs:
        available = ", ".join(map(repr, adata.obs)) or "none"
        raise KeyError(
            f"adata.obs[{key!r}] does not exist; its columns are: {available}. Write it with uc.tl.find_cells."
        )
    column = adata.obs[key]
    values: Any = column.astype(object)
    known = column.notna().to_numpy()
    if not all(isinstance(value, bool | np.bool_) for value in values[known]):
        raise ValueError(f"adata.obs[{key!r}] holds {values[known].iloc[0]!r}. It must hold True for found cells.")
    if (score := f"{key}_score") in adata.obs:  # a cell without an embedding is neither found nor not found
        known = known & adata.obs[score].notna().to_numpy()
    out = np.full(adata.n_obs, -1, dtype=np.int8)
    out[known] = values[known].to_numpy(bool)
    return out


def aggregate(X: sp.csr_matrix, samples: np.ndarray, what: Literal["sum", "count_nonzero"] = "sum") -> np.ndarray:
    """``[n_samples, n_genes]`` float64 sums, or numbers of cells with a count, of the cells ``[n]`` of each sample.

    ``samples`` are integers; rows of the result follow their order. Cells with -1 are left out.
    """
    import scanpy as sc

    rows = np.flatnonzero(samples >= 0)
    obs = pd.DataFrame({"sample": pd.Categorical(samples[rows])}, index=rows.astype(str))
    cells = ad.AnnData(X[rows].astype(np.float64), obs=obs)  # narrow integers would wrap around
    return np.asarray(sc.get.aggregate(cells, "sample", what).layers[what], dtype=np.float64)


def filter_by_expr(
    sums: np.ndarray, groups: np.ndarray, *, min_count: float = 10, min_total_count: float = 15, large_n: int = 10,
    min_prop: float = 0.7,
) -> np.ndarray:  # fmt: skip
    """``[n_genes]`` bool: genes with enough counts for a test, as ``filterByExpr`` of edgeR (Chen et al. 2016).

    A gene needs ``min_count`` counts in a sample of median size, as counts per million, in as many samples as the
    smallest of the ``groups`` ``[n_samples]`` has (above ``large_n``, a share of ``min_prop`` of the others), and
    ``min_total_count`` in all. ``sums`` are ``[n_samples, n_genes]`` counts.
    """
    size = sums.sum(axis=1, keepdims=True)
    n = np.unique(groups, return_counts=True)[1].min()
    n = large_n + (n - large_n) * min_prop if n > large_n else n
    high = sums / np.maximum(size, 1) >= min_count / max(np.median(size), 1)
    return (high.sum(axis=0) >= n - _TOLERANCE) & (sums.sum(axis=0) >= min_total_count - _TOLERANCE)

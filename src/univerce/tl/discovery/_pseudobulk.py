"""Counts of found cells, their sums per donor, and tests between donors."""

from __future__ import annotations

import warnings
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp

from univerce._validate import check_counts, get_layer, layer_name
from univerce.embeddings.groups import has_counts

_ROUNDING = 1e-9


def read_counts(adata: ad.AnnData, layer: str | None) -> sp.csr_matrix:
    """Read and check the counts ``[n_obs, n_vars]`` and the names of the genes."""
    if not has_counts(adata, layer):
        raise ValueError(
            "adata holds no expression. An atlas has embeddings only: use the AnnData with the counts, and copy obs "
            "from the atlas by cell name."
        )
    values = get_layer(adata, layer)
    values = values.compute() if hasattr(values, "compute") else values[:] if not sp.issparse(values) else values
    X = sp.csr_matrix(values)
    check_counts(X, where=layer_name(layer))
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
        known &= adata.obs[score].notna().to_numpy()
    out = np.full(adata.n_obs, -1, dtype=np.int8)
    out[known] = values[known].to_numpy(bool)
    return out


def sum_groups(X: sp.csr_matrix, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """``[n_groups, n_genes]`` float64 sums of rows; rows with the code -1 are left out."""
    rows = np.flatnonzero(codes >= 0)
    member = sp.csr_matrix((np.ones(len(rows)), (codes[rows], rows)), shape=(n_groups, X.shape[0]))
    return np.asarray((member @ X.astype(np.float64)).toarray())


def log_cpm(sums: np.ndarray, prior_count: float = 2.0) -> np.ndarray:
    """log2 counts per million of ``sums [n_groups, n_genes]``, as ``cpm(log=TRUE)`` of edgeR; NaN without counts.

    The prior count is scaled by the size of the group. It shrinks the fold changes of genes with few counts.
    """
    size = sums.sum(axis=1, keepdims=True)
    size = np.where(size > 0, size, np.nan)
    prior = prior_count * size / np.nanmean(size) if np.isfinite(size).any() else size
    return np.log2((sums + prior) / (size + 2 * prior) * 1e6)


def t_test(a: np.ndarray, b: np.ndarray, *, paired: bool) -> np.ndarray:
    """``[n_columns]`` two-sided p-values of the paired or Welch's t-test between the rows of ``a`` and ``b``.

    Columns without variance have 1 if ``a`` and ``b`` are equal, else NaN.
    """
    from scipy.stats import ttest_ind, ttest_rel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns without variance, fewer than two donors
        p = (ttest_rel(a, b) if paired else ttest_ind(a, b, equal_var=False)).pvalue
    spreads = [np.ptp(a - b, axis=0)] if paired else [np.ptp(a, axis=0), np.ptp(b, axis=0)]
    constant = np.max(spreads, axis=0) < _ROUNDING
    equal = (np.abs(a.mean(axis=0) - b.mean(axis=0)) < _ROUNDING) & (len(a) > 1)
    return np.where(constant, np.where(equal, 1.0, np.nan), p)


def adjust(p: np.ndarray) -> np.ndarray:
    """Adjust p-values (Benjamini and Hochberg 1995); NaN stays NaN and does not count as a test."""
    from scipy.stats import false_discovery_control

    out, known = np.full(p.shape, np.nan), ~np.isnan(p)
    if known.any():
        out[known] = false_discovery_control(p[known])
    return out

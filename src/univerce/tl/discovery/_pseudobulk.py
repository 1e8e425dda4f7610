"""Sums of counts per donor, and the cells they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._validate import check_counts, get_layer, layer_name
from univerce.embeddings.groups import has_counts


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of all cells, in memory."""

    X: sp.csr_matrix
    genes: pd.Index


def read_counts(adata: ad.AnnData, layer: str | None) -> Counts:
    """The counts of the cells, checked.

    Raises
    ------
    ValueError
        When there are none, as in an atlas, or the values are something else, or names of variables repeat.
    KeyError
        When there is no such layer.
    """
    if not has_counts(adata, layer):
        raise ValueError(
            "adata holds no expression. An atlas has embeddings alone: find the cells in the AnnData that holds the "
            "counts, or copy obs from the atlas to it by the names of the cells."
        )
    values = get_layer(adata, layer)
    values = values.compute() if hasattr(values, "compute") else values[:] if not sp.issparse(values) else values
    X = sp.csr_matrix(values)
    check_counts(X, where=layer_name(layer))
    if repeated := adata.var_names[adata.var_names.duplicated()].unique()[:3].tolist():
        raise ValueError(f"var_names repeat, such as {repeated}; call adata.var_names_make_unique() first.")
    return Counts(X, adata.var_names.copy())


def get_found(adata: ad.AnnData, key: str) -> np.ndarray:
    """``[n_obs]`` int8: 1 for found cells, 0 for others, -1 where it is not known.

    Raises
    ------
    KeyError
        When there is no such column.
    ValueError
        When it does not hold True and False.
    """
    if key not in adata.obs:
        available = ", ".join(map(repr, adata.obs)) or "none"
        raise KeyError(
            f"adata.obs[{key!r}] does not exist; its columns are: {available}. Write it with uc.tl.find_cells."
        )
    column = adata.obs[key]
    values: Any = column.astype(object)
    known = column.notna().to_numpy()
    if not all(isinstance(value, bool | np.bool_) for value in values[known]):
        raise ValueError(f"adata.obs[{key!r}] holds {values[known].iloc[0]!r}; True for found cells is needed.")
    out = np.full(adata.n_obs, -1, dtype=np.int8)
    out[known] = values[known].to_numpy(bool)
    score = f"{key}_score"
    if score in adata.obs:  # cells without an embedding are no proof of anything
        out[adata.obs[score].isna().to_numpy()] = -1
    return out


def t_of_means(mean: np.ndarray, variance: np.ndarray, n: int) -> np.ndarray:
    """Two-sided p-values of means of ``n`` differences (one-sample t-test); 1 where all are zero, NaN below two."""
    from scipy.stats import t

    if n < 2:
        return np.full(mean.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = mean / np.sqrt(variance / n)
    p = 2 * t.sf(np.abs(statistic), n - 1)
    return np.where((mean == 0) & (variance == 0), 1.0, p)

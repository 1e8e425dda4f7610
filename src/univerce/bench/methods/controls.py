"""Controls of Open Problems: random numbers, shuffled cells, and the labels themselves."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench._expression import principal_components
from univerce.bench._method import Method

_N_DIMS = 50


def _random(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int) -> np.ndarray:
    return np.random.default_rng(rng).normal(size=(adata.n_obs, _N_DIMS)).astype(np.float32)


def _shuffled(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int) -> np.ndarray:
    return _shuffle(adata, [], rng)


def _shuffled_in_batch(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int) -> np.ndarray:
    if batch_key is None:
        raise ValueError("This control needs batches: pass batch_key= with the column of obs that holds them.")
    return _shuffle(adata, [batch_key], rng)


def _shuffled_in_type(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int) -> np.ndarray:
    return _shuffle(adata, [_need(groupby)], rng)


def _shuffle(adata: ad.AnnData, keys: Sequence[str], rng: int) -> np.ndarray:
    """Principal components, shuffled among the cells that agree in ``keys``."""
    x = principal_components(adata, n_top_genes=2000)
    groups = np.zeros(len(x)) if not keys else adata.obs.groupby(keys, dropna=False, observed=True).ngroup().to_numpy()
    random, out = np.random.default_rng(rng), np.empty_like(x)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        out[rows] = x[random.permutation(rows)]
    return out


def _types(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int) -> np.ndarray:
    """One-hot types; NaN for a cell without a label."""
    column = adata.obs[_need(groupby)]
    out = pd.get_dummies(column.astype(object)).to_numpy(dtype=np.float32, copy=True)
    out[column.isna().to_numpy()] = np.nan
    return out


def _need(groupby: str | None) -> str:
    if groupby is None:
        raise ValueError("This control needs labels: pass groupby= with the column of obs that holds them.")
    return groupby


METHODS = tuple(
    Method(
        name=name, embed=embed, citation="Open Problems, batch integration", license="BSD-3-Clause",
        zero_shot=name == "random",
        seeded=name != "cell types", uses_batch=name == "shuffled in batch",
        uses_labels=name in ("cell types", "shuffled in type"), control=True,
    )
    for name, embed in (
        ("random", _random),
        ("shuffled", _shuffled),
        ("shuffled in batch", _shuffled_in_batch),
        ("shuffled in type", _shuffled_in_type),
        ("cell types", _types),
    )
)  # fmt: skip

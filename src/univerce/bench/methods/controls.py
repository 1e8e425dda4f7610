"""Ends of the scale, as Open Problems has them: what no method should fall below, and what the labels alone give."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench._method import Method

_N_DIMS = 50


def _random(adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int) -> np.ndarray:
    return np.random.default_rng(rng).normal(size=(adata.n_obs, _N_DIMS)).astype(np.float32)


def _shuffled(adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int) -> np.ndarray:
    return _shuffle(adata, [], rng)


def _shuffled_in_batch(adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int) -> np.ndarray:
    if batch is None:
        raise ValueError("Cells are shuffled within their batch: pass batch= with the column of obs that holds it.")
    return _shuffle(adata, [batch], rng)


def _shuffled_in_type(adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int) -> np.ndarray:
    return _shuffle(adata, [_need(labels)], rng)


def _shuffle(adata: ad.AnnData, keys: Sequence[str], rng: int) -> np.ndarray:
    """Principal components whose rows change places, within the groups of cells that agree in ``keys``."""
    from univerce.bench.methods.pca import METHOD as PCA

    columns = adata.obs[list(keys)].copy()
    x = PCA.embed(adata, batch=None, labels=None, rng=0)
    groups = np.zeros(len(x), np.int64) if not keys else columns.groupby(keys, dropna=False, observed=True).ngroup()
    random, out = np.random.default_rng(rng), np.empty_like(x)
    for group in np.unique(groups):
        rows = np.flatnonzero(np.asarray(groups) == group)
        out[rows] = x[random.permutation(rows)]
    return out


def _types(adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int) -> np.ndarray:
    """A column for each type; a cell without a label has a row of NaN."""
    column = adata.obs[_need(labels)]
    out = pd.get_dummies(column.astype(object)).to_numpy(dtype=np.float32)
    out[column.isna().to_numpy()] = np.nan
    return out


def _need(labels: str | None) -> str:
    if labels is None:
        raise ValueError("This control is made of the labels: pass labels= with the column of obs that holds them.")
    return labels


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

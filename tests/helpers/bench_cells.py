"""Simulated counts of known types and batches, and simple methods."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce.bench import Method


def counted_cells(
    n_cells: int = 120, n_genes: int = 60, *, types: int = 3, batches: int = 2, seed: int = 0, prefix: str = "cell"
) -> ad.AnnData:
    """Poisson counts that depend on type and batch; ``obsm["X_clear"]`` separates the types."""
    rng = np.random.default_rng(seed)
    kind, batch = np.arange(n_cells) % types, (np.arange(n_cells) // types) % batches
    profile = np.random.default_rng(7).gamma(1.0, size=(types, n_genes))
    effect = np.random.default_rng(8).gamma(8.0, 1 / 8, size=(batches, n_genes))
    counts = rng.poisson(3 * profile[kind] * effect[batch]).astype(np.float32)
    obs = pd.DataFrame(
        {"type": pd.Categorical([f"t{k}" for k in kind]), "batch": pd.Categorical([f"b{b}" for b in batch])},
        index=[f"{prefix} {i}" for i in range(n_cells)],
    )
    adata = ad.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"GENE{i}" for i in range(n_genes)]))
    adata.obsm["X_clear"] = (5 * np.eye(types)[kind] + rng.normal(size=(n_cells, types))).astype(np.float32)
    return adata


def counts_as_they_are(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int) -> np.ndarray:
    return np.asarray(adata.X.toarray(), dtype=np.float32)


def broken(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int) -> np.ndarray:
    raise RuntimeError("no weights here")


def one_row_short(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int) -> np.ndarray:
    return np.zeros((adata.n_obs - 1, 2), np.float32)


def noise(adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int) -> np.ndarray:
    return np.random.default_rng(rng).normal(size=(adata.n_obs, 4)).astype(np.float32)


def some_method(name: str, embed, **fields) -> Method:
    values = {"citation": "", "license": "", "zero_shot": True, "seeded": False} | fields
    return Method(name, embed, **values)


PLAIN = some_method("plain", counts_as_they_are)
BROKEN = some_method("broken", broken)
SHORT = some_method("short", one_row_short)
NOISE = some_method("noise", noise, seeded=True)

"""Simulated counts of three separable types in three batches, small enough to train on."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp


def typed_cells(
    n: int = 120, n_genes: int = 60, *, seed: int = 0, empty: tuple[int, ...] = (), names: list[str] | None = None
) -> ad.AnnData:
    """``obs`` has ``type`` and ``batch``; types have marker genes, batches a depth and one shifted gene."""
    rng = np.random.default_rng(seed)
    kind, batch = rng.integers(3, size=n), rng.integers(3, size=n)
    mean = np.full((n, n_genes), 0.6)
    for t in range(3):
        mean[np.ix_(kind == t, np.arange(t, n_genes, 6))] = 6.0
    mean[:, -1] += 4 * batch
    counts = rng.poisson(mean * (1 + batch[:, None]))
    counts[list(empty)] = 0
    obs = pd.DataFrame(
        {"type": pd.Categorical([f"t{k}" for k in kind]), "batch": pd.Categorical([f"b{b}" for b in batch])},
        index=[f"cell{i}" for i in range(n)],
    )
    var = pd.DataFrame(index=names or [f"gene{j}" for j in range(n_genes)])
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=var)

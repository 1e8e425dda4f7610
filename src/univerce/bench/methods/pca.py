"""Principal components of variable genes: the baseline that every embedding has to beat."""

from __future__ import annotations

import anndata as ad
import numpy as np

from univerce.bench._method import Method
from univerce.bench.methods._expression import log_normalize, variable_genes


def principal_components(
    adata: ad.AnnData, *, batch: str | None, rng: int, n_top_genes: int, n_comps: int
) -> np.ndarray:
    """``[n_obs, n_comps]`` of log-normalized variable genes; fewer when cells or genes are."""
    import scanpy as sc

    log_normalize(adata)
    adata = adata[:, variable_genes(adata, n_top_genes, batch=batch)].copy()
    sc.pp.pca(adata, n_comps=min(n_comps, adata.n_obs - 1, adata.n_vars - 1), random_state=rng)
    return np.asarray(adata.obsm["X_pca"], dtype=np.float32)


def _embed(
    adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int, n_top_genes: int = 2000, n_comps: int = 50
) -> np.ndarray:
    return principal_components(adata, batch=None, rng=rng, n_top_genes=n_top_genes, n_comps=n_comps)


METHOD = Method(
    name="PCA",
    embed=_embed,
    citation="Wolf et al. 2018, Genome Biology 19:15 (scanpy)",
    license="BSD-3-Clause",
    zero_shot=False,
    seeded=False,
)

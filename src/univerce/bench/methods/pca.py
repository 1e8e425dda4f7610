"""Principal components of variable genes: the baseline that every embedding has to beat."""

from __future__ import annotations

import anndata as ad
import numpy as np

from univerce.bench._method import Method


def _embed(
    adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int, n_top_genes: int = 2000, n_comps: int = 50
) -> np.ndarray:
    import scanpy as sc

    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    if adata.n_vars > n_top_genes:
        sc.pp.highly_variable_genes(adata, n_top_genes=n_top_genes, batch_key=batch)
        adata = adata[:, adata.var["highly_variable"]].copy()
    sc.pp.pca(adata, n_comps=min(n_comps, adata.n_obs - 1, adata.n_vars - 1), random_state=rng)
    return np.asarray(adata.obsm["X_pca"], dtype=np.float32)


METHOD = Method(
    name="PCA",
    embed=_embed,
    citation="Wolf et al. 2018, Genome Biology 19:15 (scanpy)",
    licence="BSD-3-Clause",
    zero_shot=False,
    seeded=False,
)

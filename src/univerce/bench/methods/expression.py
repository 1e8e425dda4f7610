"""Log-normalized expression of all genes, of variable genes, and principal components."""

from __future__ import annotations

import anndata as ad
import numpy as np

from univerce.bench._expression import dense, log_normalized, principal_components, variable_genes
from univerce.bench._method import Method


def _log_norm(
    adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int, max_gigabytes: float = 4.0
) -> np.ndarray:
    x = log_normalized(adata).X
    expressed = np.asarray((x != 0).sum(axis=0)).ravel() > 0
    gigabytes = 4e-9 * adata.n_obs * expressed.sum()
    if gigabytes > max_gigabytes:
        raise ValueError(
            f"{adata.n_obs:,} cells with {expressed.sum():,} expressed genes take {gigabytes:.1f} GB as an embedding, "
            f"more than max_gigabytes={max_gigabytes:g}. Use fewer cells, the method 'HVG', or a larger max_gigabytes."
        )
    return dense(x[:, expressed])


def _hvg(
    adata: ad.AnnData, *, batch_key: str | None, groupby: str | None, rng: int, n_top_genes: int = 2000
) -> np.ndarray:
    logs = log_normalized(adata)
    return dense(logs.X[:, variable_genes(logs, n_top_genes)])


def pca(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    n_top_genes: int = 2000,
    n_comps: int = 50,
) -> np.ndarray:
    """Principal components of variable genes, without the batches."""
    return principal_components(adata, n_top_genes=n_top_genes, n_comps=n_comps, rng=rng)


_SCANPY = "Wolf et al. 2018, Genome Biology 19:15 (scanpy)"
METHODS = tuple(
    Method(name, embed, citation=citation, license="BSD-3-Clause", zero_shot=name == "log-norm", seeded=False)
    for name, embed, citation in (
        ("log-norm", _log_norm, _SCANPY),
        ("HVG", _hvg, f"Satija et al. 2015, Nature Biotechnology 33:495; {_SCANPY}"),
        ("PCA", pca, _SCANPY),
    )
)

"""Log-normalized expression of all genes: what a cell is before anything has been made of it."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scipy.sparse as sp

from univerce.bench._method import Method
from univerce.bench.methods._expression import log_normalize


def _embed(
    adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int, max_gigabytes: float = 4.0
) -> np.ndarray:
    """Genes that no cell expresses are left out: no distance between cells knows of them."""
    log_normalize(adata)
    expressed = np.asarray((adata.X != 0).sum(axis=0)).ravel() > 0
    gigabytes = 4e-9 * adata.n_obs * expressed.sum()
    if gigabytes > max_gigabytes:
        raise ValueError(
            f"{adata.n_obs:,} cells with {expressed.sum():,} expressed genes take {gigabytes:.1f} GB as an embedding, "
            f"more than max_gigabytes={max_gigabytes:g}. Take fewer cells, the method 'HVG', or a larger max_gigabytes."
        )
    x = adata.X[:, expressed]
    return (x.toarray() if sp.issparse(x) else x).astype(np.float32)


METHOD = Method(
    name="log-norm",
    embed=_embed,
    citation="Wolf et al. 2018, Genome Biology 19:15 (scanpy)",
    license="BSD-3-Clause",
    zero_shot=True,
    seeded=False,
)

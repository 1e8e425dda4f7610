"""Log-normalized expression of variable genes, without any reduction."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scipy.sparse as sp

from univerce.bench._method import Method
from univerce.bench.methods._expression import log_normalize, variable_genes


def _embed(
    adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int, n_top_genes: int = 2000
) -> np.ndarray:
    log_normalize(adata)
    x = adata.X[:, variable_genes(adata, n_top_genes)]
    return (x.toarray() if sp.issparse(x) else x).astype(np.float32)


METHOD = Method(
    name="HVG",
    embed=_embed,
    citation="Satija et al. 2015, Nature Biotechnology 33:495; Wolf et al. 2018, Genome Biology 19:15 (scanpy)",
    license="BSD-3-Clause",
    zero_shot=False,
    seeded=False,
)

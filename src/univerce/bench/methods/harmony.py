"""Harmony: principal components, shifted cluster by cluster until the batches mix."""

from __future__ import annotations

import anndata as ad
import numpy as np

from univerce.bench._method import Method
from univerce.bench.methods._expression import require_batches
from univerce.bench.methods.pca import principal_components


def _embed(
    adata: ad.AnnData, *, batch: str | None, labels: str | None, rng: int, n_top_genes: int = 2000, n_comps: int = 50
) -> np.ndarray:
    try:
        import harmonypy
    except ImportError as error:
        raise ImportError('Harmony needs harmonypy: pip install "univerce[bench]"') from error
    batches = require_batches(adata, batch, "Harmony")
    components = principal_components(adata, batch=batch, rng=rng, n_top_genes=n_top_genes, n_comps=n_comps)
    result = harmonypy.run_harmony(components, batches.to_frame("batch"), "batch", random_state=rng, verbose=False)
    return np.asarray(result.Z_corr, dtype=np.float32)


METHOD = Method(
    name="Harmony",
    embed=_embed,
    citation="Korsunsky et al. 2019, Nature Methods 16:1289",
    license="GPL-3.0-or-later (harmonypy)",
    zero_shot=False,
    uses_batch=True,
    extra="bench",
)

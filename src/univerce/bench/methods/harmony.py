"""Harmony: principal components, corrected for batches."""

from __future__ import annotations

import anndata as ad
import numpy as np

from univerce.bench._expression import batch_names, principal_components
from univerce.bench._method import Method


def _embed(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    n_top_genes: int = 2000,
    n_comps: int = 50,
) -> np.ndarray:
    try:
        import harmonypy
    except ImportError as error:
        raise ImportError('Harmony needs harmonypy: pip install "univerce[bench]"') from error
    batches = batch_names(adata, batch_key, "Harmony").to_frame("batch")
    x = principal_components(adata, n_top_genes=n_top_genes, batch_key=batch_key, n_comps=n_comps, rng=rng)
    result = harmonypy.run_harmony(x, batches, "batch", random_state=rng, verbose=False)
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

"""scVI: a variational autoencoder of the counts that is told the batches."""

from __future__ import annotations

import anndata as ad
import numpy as np

from univerce.bench._method import Method
from univerce.bench.methods._scvi import LATENT, counts_for_scvi, in_rows, seeded_scvi, train


def _embed(
    adata: ad.AnnData,
    *,
    batch: str | None,
    labels: str | None,
    rng: int,
    n_top_genes: int = 2000,
    max_epochs: int = 1000,
) -> np.ndarray:
    with seeded_scvi(rng) as scvi:
        counts = counts_for_scvi(adata, n_top_genes, batch)
        scvi.model.SCVI.setup_anndata(counts, batch_key=batch)
        model = scvi.model.SCVI(counts, **LATENT)
        adata.uns["details"] = {"epochs": train(model, max_epochs)}
        return in_rows(adata, counts.obs_names, model.get_latent_representation())


METHOD = Method(
    name="scVI",
    embed=_embed,
    citation="Lopez et al. 2018, Nature Methods 15:1053; Gayoso et al. 2022, Nature Biotechnology 40:163 (scvi-tools)",
    license="BSD-3-Clause",
    zero_shot=False,
    uses_batch=True,
    extra="bench",
)

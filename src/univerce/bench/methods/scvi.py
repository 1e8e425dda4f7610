"""scVI, a variational autoencoder of counts and batches; scANVI, which also sees the labels."""

from __future__ import annotations

import anndata as ad
import numpy as np

from univerce.bench._method import Method
from univerce.bench.methods._scvi import LATENT, counts_for_scvi, in_rows, seeded_scvi, train

_KEY, _UNKNOWN = "scanvi_label", "no label"  # a column that the data is unlikely to have


def _scvi(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    n_top_genes: int = 2000,
    max_epochs: int = 1000,
) -> np.ndarray:
    with seeded_scvi(rng) as scvi:
        counts = counts_for_scvi(adata, n_top_genes, batch_key)
        scvi.model.SCVI.setup_anndata(counts, batch_key=batch_key)
        model = scvi.model.SCVI(counts, **LATENT)
        adata.uns["details"] = {"epochs": train(model, max_epochs)}
        return in_rows(adata, counts.obs_names, model.get_latent_representation())


def _scanvi(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    n_top_genes: int = 2000,
    max_epochs: int = 1000,
    n_samples_per_label: int = 100,
) -> np.ndarray:
    if groupby is None:
        raise ValueError("scANVI needs labels: pass groupby= with the column of obs that holds them.")
    with seeded_scvi(rng) as scvi:
        counts = counts_for_scvi(adata, n_top_genes, batch_key)
        labels = counts.obs[groupby].astype(object)
        counts.obs[_KEY] = labels.where(labels.notna(), _UNKNOWN).astype(str)
        scvi.model.SCVI.setup_anndata(counts, batch_key=batch_key, labels_key=_KEY)
        first = scvi.model.SCVI(counts, **LATENT)
        epochs = train(first, max_epochs)
        model = scvi.model.SCANVI.from_scvi_model(first, unlabeled_category=_UNKNOWN)
        more = train(model, max_epochs, n_samples_per_label=n_samples_per_label)
        adata.uns["details"] = {"epochs_scvi": epochs, "epochs": more}
        return in_rows(adata, counts.obs_names, model.get_latent_representation())


METHODS = (
    Method(
        name="scVI",
        embed=_scvi,
        citation="Lopez et al. 2018, Nature Methods 15:1053; Gayoso et al. 2022, Nature Biotechnology 40:163",
        license="BSD-3-Clause",
        zero_shot=False,
        uses_batch=True,
        extra="bench",
    ),
    Method(
        name="scANVI",
        embed=_scanvi,
        citation="Xu et al. 2021, Molecular Systems Biology 17:e9620",
        license="BSD-3-Clause",
        zero_shot=False,
        uses_batch=True,
        uses_labels=True,
        extra="bench",
    ),
)

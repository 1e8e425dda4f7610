"""scANVI: scVI, trained on with the labels. An upper end of the scale, no peer of methods that never see a label."""

from __future__ import annotations

import anndata as ad
import numpy as np

from univerce.bench._method import Method
from univerce.bench.methods._scvi import LATENT, counts_for_scvi, in_rows, seeded_scvi, train

_KEY, _UNKNOWN = "scanvi_label", "no label"  # the data may have a column of any plain name


def _embed(
    adata: ad.AnnData,
    *,
    batch: str | None,
    labels: str | None,
    rng: int,
    n_top_genes: int = 2000,
    max_epochs: int = 1000,
    n_samples_per_label: int = 100,
) -> np.ndarray:
    if labels is None:
        raise ValueError("scANVI needs labels: pass labels= with the column of obs that holds them.")
    with seeded_scvi(rng) as scvi:
        counts = counts_for_scvi(adata, n_top_genes, batch)
        known = counts.obs[labels].notna()
        counts.obs[_KEY] = counts.obs[labels].astype(object).where(known, _UNKNOWN).astype(str)
        scvi.model.SCVI.setup_anndata(counts, batch_key=batch, labels_key=_KEY)
        first = scvi.model.SCVI(counts, **LATENT)
        epochs = train(first, max_epochs)
        model = scvi.model.SCANVI.from_scvi_model(first, unlabeled_category=_UNKNOWN)
        more = train(model, max_epochs, n_samples_per_label=n_samples_per_label)
        adata.uns["details"] = {"epochs_scvi": epochs, "epochs": more}
        return in_rows(adata, counts.obs_names, model.get_latent_representation())


METHOD = Method(
    name="scANVI",
    embed=_embed,
    citation="Xu et al. 2021, Molecular Systems Biology 17:e9620",
    license="BSD-3-Clause",
    zero_shot=False,
    uses_batch=True,
    uses_labels=True,
    extra="bench",
)

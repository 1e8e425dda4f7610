"""scArches: scVI trained on reference batches; the other batches are mapped onto it."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd

from univerce.bench._expression import batch_names
from univerce.bench._method import Method
from univerce.bench.methods._scvi import LATENT, counts_for_scvi, in_rows, seeded_scvi, train

_SURGERY = {"use_layer_norm": "both", "use_batch_norm": "none", "encode_covariates": True, "dropout_rate": 0.2}
"""Parameters that the authors use for a reference, so that only weights of new batches are trained."""


def _embed(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    reference: Sequence[str] | None = None,
    n_top_genes: int = 2000,
    max_epochs: int = 1000,
) -> np.ndarray:
    """``reference`` are batches; None takes the largest ones with half of the cells. Genes are those variable in it."""
    batches = batch_names(adata, batch_key, "scArches")
    chosen = _reference(batches, reference)
    with seeded_scvi(rng) as scvi:
        counts = counts_for_scvi(adata, n_top_genes, batch_key, reference=batches.isin(chosen).to_numpy())
        counts.obs["batch"] = batches.loc[counts.obs_names].to_numpy()
        is_reference = counts.obs["batch"].isin(chosen).to_numpy()
        first, query = counts[is_reference].copy(), counts[~is_reference].copy()
        scvi.model.SCVI.setup_anndata(first, batch_key="batch")
        model = scvi.model.SCVI(first, **LATENT, **_SURGERY)
        epochs = train(model, max_epochs)
        mapped = scvi.model.SCVI.load_query_data(query, model, accelerator="cpu")  # training moves it
        more = train(mapped, max_epochs, plan_kwargs={"weight_decay": 0.0})
        adata.uns["details"] = {"reference": list(chosen), "epochs_reference": epochs, "epochs": more}
        latent = np.concatenate([mapped.get_latent_representation(part) for part in (first, query)])
        return in_rows(adata, first.obs_names.append(query.obs_names), latent)


def _reference(batches: pd.Series, reference: Sequence[str] | None) -> list[str]:
    """The batches of the reference; ``ValueError`` if no other batch is left."""
    sizes = batches.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    if reference is None:
        n_chosen = int((sizes.cumsum() < len(batches) / 2).sum()) + 1
        return list(sizes.index[: min(n_chosen, len(sizes) - 1)])
    chosen = [str(name) for name in ([reference] if isinstance(reference, str) else reference)]
    unknown = sorted(set(chosen) - set(sizes.index))
    if unknown or not chosen or set(chosen) == set(sizes.index):
        problem = f"{unknown[0]!r} is not among them" if unknown else "pass some of them, but not all"
        names = ", ".join(sizes.index)
        raise ValueError(f"reference={reference!r} does not choose among the batches {names}: {problem}.")
    return chosen


METHOD = Method(
    name="scArches",
    embed=_embed,
    citation="Lotfollahi et al. 2022, Nature Biotechnology 40:121",
    license="BSD-3-Clause",
    zero_shot=False,
    uses_batch=True,
    extra="bench",
)

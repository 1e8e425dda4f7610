"""Universal Cell Embedding with any model of univerce."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

from univerce._keys import RECORDS
from univerce.bench._method import Method


def _embed(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    model: str | Path | None = None,
    species: str | None = None,
    **options: Any,
) -> np.ndarray:
    """``options`` are those of :func:`univerce.tl.uce_embed`; a cell without a known gene is NaN."""
    from univerce.tl.uce_embed import uce_embed

    uce_embed(adata, model=model, species=species, rng=rng, key_added="X_uce", **options)
    adata.uns["details"] = adata.uns[RECORDS]["X_uce"]
    return adata.obsm["X_uce"]


def _digest(options: Mapping[str, Any]) -> str:
    from univerce.model.find import find_model

    return find_model(options.get("model")).digest


METHOD = Method(
    name="UCE",
    embed=_embed,
    digest=_digest,
    citation="Rosen et al., Nature 2026, doi 10.1038/s41586-026-10689-z",
    license="BSD-3-Clause (univerce, uce-mini); MIT (released code), weights under their authors' terms",
    zero_shot=True,
    pretrained_on="released models: 36 million cells, 33.9 million of them of 285 data sets of CELLxGENE Census of "
    "July 2023, whose ids are not published; uce-mini: see its model card",
    own_genes=True,
)

"""What :func:`univerce.tl.uce_embed` recorded of an embedding, and the model that made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad

from univerce.genes.assets import RELEASED_MODELS
from univerce.genes.load import BUNDLED_MODEL
from univerce.model.checkpoint import Model, find_model


def recorded_params(adata: ad.AnnData, name: str, key: str) -> Mapping[str, Any]:
    """What was recorded of an embedding."""
    if key not in adata.obsm:
        raise KeyError(
            f"{name}.obsm[{key!r}] does not exist; its keys are: {', '.join(map(repr, adata.obsm)) or 'none'}. Embed "
            f"the cells with uc.tl.uce_embed({name}, key_added={key!r}), or pass use_rep=."
        )
    entry = adata.uns.get(key)
    params = entry.get("params") if isinstance(entry, Mapping) else None
    if not isinstance(params, Mapping) or not {"model", "model_digest", "table_digest"} <= set(params):
        raise KeyError(
            f"{name}.uns[{key!r}]['params'] does not say which model made {name}.obsm[{key!r}]. Keep what "
            f"uc.tl.uce_embed writes there, or embed again with uc.tl.uce_embed({name}, key_added={key!r})."
        )
    return params


def recorded_model(params: Mapping[str, Any], model: str | Path | None, use_rep: str) -> tuple[str | Path, Model]:
    """Name or directory of the model that made an embedding, and the model; ``model`` must be this one when given.

    Raises
    ------
    ValueError
        When it is another one, or the recorded name is none that the package knows.
    """
    recorded, digest = str(params["model"]), str(params["model_digest"])
    if model is None and recorded not in (BUNDLED_MODEL, *RELEASED_MODELS):
        raise ValueError(
            f"The embedding in obsm[{use_rep!r}] was made by the model {recorded!r}, which is none that the package "
            "knows by name; pass model= with its directory."
        )
    name = recorded if model is None else model
    found = find_model(name)
    if found.digest != digest:
        raise ValueError(
            f"The embedding in obsm[{use_rep!r}] was made by the model {recorded!r} ({digest[:12]}), not by "
            f"{found.config.model_id!r} ({found.digest[:12]}), which cannot read it. Pass the model that made it as "
            "model=, or embed again with this one."
        )
    return name, found

"""Find the model of an embedding from what :func:`univerce.tl.uce_embed` recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from univerce.genes.load import BUNDLED_MODEL
from univerce.genes.release.registry import RELEASED_MODELS
from univerce.model.checkpoint import Model, find_model


def recorded_model(params: Mapping[str, Any], model: str | Path | None, use_rep: str) -> tuple[str | Path, Model]:
    """Name or directory of the model of an embedding, and the model; a given ``model`` must be the same.

    Raises
    ------
    ValueError
        If it is another one, or the recorded name is unknown.
    """
    recorded, digest = str(params["model"]), str(params["model_digest"])
    if model is None and recorded not in (BUNDLED_MODEL, *RELEASED_MODELS):
        raise ValueError(
            f"The embedding in obsm[{use_rep!r}] comes from the model {recorded!r}, which is not known by name; pass "
            "model= with its directory."
        )
    name = recorded if model is None else model
    found = find_model(name)
    if found.digest != digest:
        raise ValueError(
            f"The embedding in obsm[{use_rep!r}] comes from the model {recorded!r} ({digest[:12]}), not from "
            f"{found.config.model_id!r} ({found.digest[:12]}), which cannot read it. Pass the model of the embedding "
            "as model=, or embed again with this one."
        )
    return name, found

"""What :func:`univerce.tl.uce_embed` recorded of an embedding, and the model that made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from univerce.genes.load import BUNDLED_MODEL
from univerce.genes.release.registry import RELEASED_MODELS
from univerce.model.checkpoint import Model, find_model


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

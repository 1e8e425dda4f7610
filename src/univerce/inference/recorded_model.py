"""The model that made an embedding."""

from __future__ import annotations

from pathlib import Path

from univerce.embeddings.space import Space
from univerce.genes.load import BUNDLED_MODELS
from univerce.genes.release.models import is_public
from univerce.model.directory import Model
from univerce.model.find import find_model


def recorded_model(space: Space, model: str | Path | None, use_rep: str) -> tuple[str | Path, Model]:
    """Find the model that made an embedding, and the name or directory to load it by.

    ``ValueError`` if ``model`` is another, or is not given and the recorded one is neither bundled nor public.
    """
    if model is None and space.model not in BUNDLED_MODELS and not is_public(space.model):
        raise ValueError(
            f"The embedding in obsm[{use_rep!r}] was made by the model {space.model!r}, which is neither bundled nor "
            "public. Pass model= with its directory."
        )
    name = space.model if model is None else model
    found = find_model(name)
    if not space.is_of(found.config.model_id, found.digest):
        raise ValueError(
            f"The embedding in obsm[{use_rep!r}] was made by the model {space}, not by {found.config.model_id!r} "
            f"({found.digest[:12]}). Pass the model that made it as model=, or embed again with this one."
        )
    return name, found

"""The model that a training continues from."""

from __future__ import annotations

from univerce.model.config import UCEConfig
from univerce.model.directory import Model
from univerce.model.find import find_model


def find_source(name: str, model: UCEConfig) -> Model:
    """Find the model to continue from, which must have the architecture of ``model`` and another name."""
    source = find_model(name)
    free = {"model_id": "", "dropout": 0.0, "n_sample": 1, "sampling": "multinomial"}
    mine, theirs = (config.to_dict() | free for config in (model, source.config))
    if different := [
        f"{key}={value!r} (it has {theirs[key]!r})" for key, value in mine.items() if value != theirs[key]
    ]:
        raise ValueError(f"continue_from={name!r} has another architecture than the model: {', '.join(different)}.")
    if model.model_id == source.config.model_id:
        raise ValueError(
            f"model_id={model.model_id!r} is the name of the model to continue from; the result is a new embedding "
            "space and needs a new name."
        )
    return source

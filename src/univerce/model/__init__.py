"""The UCE network: its configuration, its weights on disk and its training."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from univerce.model.checkpoint import Model, convert_checkpoint, find_model, load_network, save_model
    from univerce.model.config import UCEConfig
    from univerce.model.corpus import TrainingSet
    from univerce.model.network import UCE
    from univerce.model.training import PretrainConfig, pretrain

_ROOMS = {
    "Model": "checkpoint", "convert_checkpoint": "checkpoint", "find_model": "checkpoint", "load_network": "checkpoint",
    "save_model": "checkpoint", "UCEConfig": "config", "TrainingSet": "corpus", "UCE": "network",
    "PretrainConfig": "training", "pretrain": "training",
}  # fmt: skip

__all__ = [
    "UCE", "Model", "PretrainConfig", "TrainingSet", "UCEConfig", "convert_checkpoint", "find_model", "load_network",
    "pretrain", "save_model",
]  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a module when something of it is used: blocks and tokens need no torch."""
        if name in _ROOMS:
            return getattr(import_module(f"univerce.model.{_ROOMS[name]}"), name)
        raise AttributeError(f"module 'univerce.model' has no attribute {name!r}.")

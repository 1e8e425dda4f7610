"""Models: configuration, checkpoints and pretraining."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from univerce.model.brain import UCEBrain
    from univerce.model.brain_config import UCEBrainConfig
    from univerce.model.card import model_card
    from univerce.model.checkpoint import load_network, save_model
    from univerce.model.config import UCEConfig
    from univerce.model.convert import convert_checkpoint
    from univerce.model.directory import Model
    from univerce.model.find import find_model
    from univerce.model.linear import LinearConfig
    from univerce.model.listing import list_models
    from univerce.model.network import UCE
    from univerce.training.config import PretrainConfig
    from univerce.training.fit_linear import LinearFit, fit_linear
    from univerce.training.loop import pretrain
    from univerce.training.training_set import TrainingSet
    from univerce.training.verify import Verification, verify

_MODULES = {
    "Model": "model.directory", "convert_checkpoint": "model.convert", "find_model": "model.find",
    "list_models": "model.listing", "model_card": "model.card",
    "load_network": "model.checkpoint", "save_model": "model.checkpoint", "UCEConfig": "model.config",
    "UCE": "model.network", "UCEBrain": "model.brain", "UCEBrainConfig": "model.brain_config",
    "TrainingSet": "training.training_set", "PretrainConfig": "training.config",
    "pretrain": "training.loop", "Verification": "training.verify", "verify": "training.verify",
    "LinearConfig": "model.linear", "LinearFit": "training.fit_linear", "fit_linear": "training.fit_linear",
}  # fmt: skip

__all__ = [
    "UCE", "LinearConfig", "LinearFit", "Model", "PretrainConfig", "TrainingSet", "UCEBrain", "UCEBrainConfig",
    "UCEConfig", "Verification", "convert_checkpoint", "find_model", "fit_linear", "list_models", "load_network",
    "model_card", "pretrain", "save_model", "verify",
]  # fmt: skip

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import on first use: the configuration needs no torch, the network no training."""
        if name in _MODULES:
            return getattr(import_module(f"univerce.{_MODULES[name]}"), name)
        raise AttributeError(f"module 'univerce.model' has no attribute {name!r}.")


def __dir__() -> list[str]:
    return __all__

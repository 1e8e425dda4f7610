"""The families of models, by the name in ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Family:
    """The module and name of the classes of a family, imported at first use: a configuration needs no torch."""

    config: tuple[str, str]
    """A frozen dataclass with ``family``, ``model_id``, ``token_dim``, ``token_encoder``, ``output_dim``, ``to_dict``
    and ``from_dict``. Families that read sentences add ``n_sample``, ``sampling``, ``max_length`` and ``d_model``."""
    network: tuple[str, str]
    """A ``torch.nn.Module``, made from the configuration, with ``config``, ``encode_tokens``, ``embed``, ``predict``
    and ``read_tokens`` as in :class:`univerce.model.UCE`. Its parameters are the weights in the file; buffers follow
    from the configuration. A family without sentences has a class without torch, see
    :class:`univerce.model.linear.Linear`."""
    sentences: bool = True
    """Whether cells become sentences."""


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "uce": Family(("univerce.model.config", "UCEConfig"), ("univerce.model.network", "UCE")),
        "uce-brain": Family(("univerce.model.brain_config", "UCEBrainConfig"), ("univerce.model.brain", "UCEBrain")),
        "linear": Family(
            ("univerce.model.linear", "LinearConfig"), ("univerce.model.linear", "Linear"), sentences=False
        ),
    }
)


def read_config(family: str, values: dict[str, Any]) -> Any:
    """Create the configuration of a family from a mapping; ``ValueError`` if the family or an entry is unknown."""
    return _load(find_family(family).config).from_dict(values)


def build_network(config: Any) -> Any:
    """Create the network of a configuration, with random weights."""
    return _load(find_family(config.family).network)(config)


def find_family(family: str) -> Family:
    """Get the entry of a family; ``ValueError`` lists the known ones."""
    if family not in FAMILIES:
        raise ValueError(
            f"The model is of the family {family!r}, which this version does not know; it knows {', '.join(FAMILIES)}."
        )
    return FAMILIES[family]


def _load(where: tuple[str, str]) -> Any:
    module, name = where
    return getattr(import_module(module), name)

"""Universal cell embeddings for the scverse."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from univerce._errors import FileError
from univerce._settings import settings
from univerce._version import __version__ as __version__

if TYPE_CHECKING:
    from univerce import atlas, bench, datasets, genes, get, model, pl, pp, tl

__all__ = ["FileError", "atlas", "bench", "datasets", "genes", "get", "model", "pl", "pp", "settings", "tl"]

if not TYPE_CHECKING:  # a type checker would otherwise accept every name

    def __getattr__(name: str) -> object:
        """Import a subpackage at its first use, so that ``import univerce`` loads neither torch nor scanpy."""
        if name in __all__:
            return import_module(f"univerce.{name}")
        raise AttributeError(f"module 'univerce' has no attribute {name!r}; it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

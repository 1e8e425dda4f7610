"""Tensors of a checkpoint by name, left on disk until they are read, whatever file holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from univerce._errors import FileError, reading
from univerce.genes.release.content import describe
from univerce.genes.release.unpickle import load_torch

if TYPE_CHECKING:
    from torch import Tensor

TABLES = ("pe_embedding.weight", "uce.embedding_layer.embedding.weight")
"""Names of the token table, in the first and in the second family."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "model.")  # of parallel training, and of wrappers


class _Safetensors(Mapping[str, "Tensor"]):
    """Tensors of one or several safetensors files; each is opened anew, which releases the pages of the last."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._where: dict[str, Path] = {}
        for path in paths:
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    if name in self._where:
                        raise FileError(f"{path}: {name} is in {self._where[name].name} and in {path.name}.")
                    self._where[name] = path

    def __getitem__(self, name: str) -> Tensor:
        with _opened(self._where[name]) as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


class _Renamed(Mapping[str, "Tensor"]):
    """The same tensors without a prefix of all names."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        self._tensors = tensors
        self._names = {name.removeprefix(prefix): name for name in tensors}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_tensors(paths: Sequence[Path]) -> Mapping[str, Tensor]:
    """Open the weights in one or several files of safetensors or torch, by the names of the network.

    :class:`univerce.FileError` if a file is damaged, asks to run code, or is not a mapping of names to tensors.
    """
    import torch

    tensors: Mapping[str, Tensor]
    if paths[0].suffix == ".safetensors":
        tensors = _Safetensors(paths)
    else:
        state = load_torch(paths[0])
        if isinstance(state, Mapping):
            state = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)), state)
        if not isinstance(state, Mapping) or not all(
            isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
        ):
            raise FileError(f"{paths[0]} is not a state dict (a mapping from names to tensors).")
        tensors = state
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = _Renamed(tensors, prefix)
    return tensors


def open_table(paths: Sequence[Path], tokens: Path | None = None) -> Tensor | None:
    """Open the token table ``[rows, token_dim]`` in a checkpoint, or in a file of its own; ``None`` without one."""
    import torch

    if paths[0].suffix != ".safetensors" and isinstance(content := load_torch(paths[0]), torch.Tensor):
        return content
    tensors = open_tensors(paths)
    if (name := next((name for name in TABLES if name in tensors), None)) is not None:
        return tensors[name]
    return None if tokens is None else open_table([tokens])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        with path.open("rb") as content:
            seen = describe(content.read(512))
        raise FileError(f"{path} is damaged or is not a safetensors file ({error}); it is {seen}.") from error
    with reading(path, "a safetensors file"), file:
        yield file

"""Load published weights from a local directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from univerce._errors import reading
from univerce._validate import as_path
from univerce.genes.release.unpickle import load_torch

if TYPE_CHECKING:
    import torch

_FILES = ("model.safetensors", "pytorch_model.bin")


def model_directory(model: str | Path | None, method: str, source: str, files: Iterable[str]) -> Path:
    """Check that ``model`` is a directory with ``files``; errors say where to download them."""
    needed = f"a directory with {', '.join(files)}, downloaded from {source}"
    if model is None:
        raise ValueError(f"{method} needs the option model=, {needed}.")
    path = as_path(model)
    missing = [name for name in files if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(f"model={str(model)!r} has no {', '.join(missing)}; {method} needs {needed}.")
    return path


def read_state(directory: Path) -> dict[str, torch.Tensor]:
    """Tensors of ``model.safetensors`` or ``pytorch_model.bin`` (weights only)."""
    from safetensors.torch import load_file

    for path in (directory / name for name in _FILES):
        if path.is_file() and path.suffix == ".safetensors":
            with reading(path, "a valid safetensors file"):
                return load_file(path)
        if path.is_file():
            return dict(load_torch(path))
    raise FileNotFoundError(f"{directory} has neither {' nor '.join(_FILES)}.")


def load_strictly(
    network: torch.nn.Module, state: dict[str, torch.Tensor], *, unused: tuple[str, ...], where: Path
) -> None:
    """Load weights; ``ValueError`` lists those that are unknown, missing or of another shape.

    ``unused`` are prefixes, or suffixes after ``*``, of weights that are not needed.
    """
    known = network.state_dict()
    prefixes, suffixes = tuple(u for u in unused if u[0] != "*"), tuple(u[1:] for u in unused if u[0] == "*")
    needed = {n: w for n, w in state.items() if n in known or not (n.startswith(prefixes) or n.endswith(suffixes))}
    try:
        network.load_state_dict(needed)
    except RuntimeError as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"The weights in {where} are not those of this model. {problem}") from error

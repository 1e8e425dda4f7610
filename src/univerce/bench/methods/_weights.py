"""Load published weights from a local directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from univerce.genes.release.unpickle import load_torch

if TYPE_CHECKING:
    import torch

_FILES = ("model.safetensors", "pytorch_model.bin")


def model_directory(model: str | Path | None, method: str, source: str, files: Iterable[str]) -> Path:
    """Check that ``model`` is a directory with ``files``; errors say where to download them."""
    needed = f"a directory with {', '.join(files)}, downloaded from {source}"
    if model is None:
        raise ValueError(f"{method} needs the option model=, {needed}.")
    path = Path(model)
    missing = [name for name in files if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(f"model={str(model)!r} has no {', '.join(missing)}; {method} needs {needed}.")
    return path


def read_state(directory: Path) -> dict[str, torch.Tensor]:
    """Tensors of ``model.safetensors`` or ``pytorch_model.bin`` (weights only)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for path in (directory / name for name in _FILES):
        if path.is_file() and path.suffix == ".safetensors":
            try:
                return load_file(path)
            except SafetensorError as error:
                raise ValueError(f"{path} is not a valid safetensors file: {error}") from error
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
    prefixes = tuple(u for u in unused if u[0] != "*")
    suffixes = tuple(u[1:] for u in unused if u[0] == "*")
    extra = [name for name in state if name not in known]
    unknown = [name for name in extra if not name.startswith(prefixes) and not name.endswith(suffixes)]
    missing = [name for name in known if name not in state]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
        for name, value in known.items()
        if name in state and state[name].shape != value.shape
    ]
    problems = [
        f"{what}: {', '.join(names)}"
        for what, names in (("unknown", unknown), ("missing", missing), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise ValueError(f"The weights in {where} are not those of this model. {'; '.join(problems)}.")
    network.load_state_dict({name: state[name] for name in known})

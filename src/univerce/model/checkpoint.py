"""Models on disk: ``config.json`` and ``model.safetensors`` in a directory; conversion of released checkpoints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from univerce._device import choose_device, choose_precision
from univerce._settings import settings
from univerce.genes.load import BUNDLED_MODEL
from univerce.genes.release.fetch import fetch
from univerce.genes.release.registry import RELEASED_MODELS
from univerce.genes.release.unpickle import load_torch
from univerce.io.atomic import replacing
from univerce.model.config import UCE_4L, UCE_33L, UCEConfig
from univerce.model.layers import Layer, sinusoids
from univerce.model.network import UCE

if TYPE_CHECKING:
    from univerce.training.config import PretrainConfig

_BUNDLED = Path(__file__).resolve().parents[1] / "data"
_RELEASED = {"uce-4l": UCE_4L, "uce-33l": UCE_33L}
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_NOT_WEIGHTS = {"pe_embedding.weight", "pos_encoder.pe"}  # the token table, and a table that follows from the config


class _NoMemory(TorchFunctionMode):
    """Creates networks whose weights take no memory.

    Redirect only ``torch.empty`` to the meta device, which covers uninitialized weights. On the meta device other
    constructors (eye, arange) import torch's compiler, which takes seconds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Model:
    """A model on disk.

    Parameters
    ----------
    config
        The architecture.
    digest
        SHA-256 of the weights and the config: the identity of the embedding space.
    path
        The directory.

    Examples
    --------
    >>> import univerce as uc
    >>> model = uc.model.find_model("uce-mini")
    >>> (model.path.name, len(model.digest))
    ('uce-mini', 64)
    """

    config: UCEConfig
    digest: str
    path: Path

    def __repr__(self) -> str:
        c = self.config
        return (
            f"Model {c.model_id!r}: {c.n_layers} layers of width {c.d_model}, {c.n_sample:,} {c.sampling} draws, "
            f"{c.output_dim:,} dimensions, digest {self.digest[:12]}, in {self.path}"
        )


def find_model(model: str | Path | None = None) -> Model:
    """Find a model by name or directory and check its digest.

    Parameters
    ----------
    model
        ``None`` or ``"uce-mini"`` is the bundled model; ``"uce-4l"`` and ``"uce-33l"`` are fetched and converted at
        first use; anything else is a directory written by :func:`save_model` or :func:`convert_checkpoint`.

    Returns
    -------
    The model's config, digest and directory.

    Raises
    ------
    ValueError
        If there is no such model, or its files were changed after they were written.
    FileNotFoundError
        If a released model has to be fetched and ``settings.offline`` is set.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.find_model().config.model_id
    'uce-mini'
    """
    if model is None or model == BUNDLED_MODEL:
        path = _BUNDLED / BUNDLED_MODEL
    elif model in RELEASED_MODELS:
        path = _released(str(model))
    else:
        path = Path(model)
    if not ((path / _CONFIG).is_file() and (path / _WEIGHTS).is_file()):
        raise ValueError(
            f"There is no model {str(model)!r}; use {', '.join((BUNDLED_MODEL, *_RELEASED))} or a directory with a "
            f"{_CONFIG} and a {_WEIGHTS}."
        )
    written = json.loads((path / _CONFIG).read_text())
    if not {"config", "digest"} <= set(written):
        raise ValueError(f"{path / _CONFIG} was not written by save_model() or convert_checkpoint().")
    config = UCEConfig.from_dict(written["config"])
    digest = _digest(path / _WEIGHTS, config)
    if digest != written["digest"]:
        raise ValueError(
            f"{path / _WEIGHTS} or its {_CONFIG} was changed after it was written; convert or fetch it again."
        )
    return Model(config, digest, path)


def _released(model: str) -> Path:
    """Return the directory of a released model, converting it at first use in one process only."""
    from filelock import FileLock

    path = settings.cache_dir / "models" / model
    if not (path / _CONFIG).is_file():
        source = fetch(RELEASED_MODELS[model])
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{model}.lock")):
            if not (path / _CONFIG).is_file():
                convert_checkpoint(source, path, config=_RELEASED[model])
    return path


def load_network(model: Model) -> UCE:
    """Load the weights of a model for inference, on ``settings.device`` and in ``settings.precision``.

    Parameters
    ----------
    model
        From :func:`find_model`.

    Returns
    -------
    The network in evaluation mode, without gradients.

    Raises
    ------
    ValueError
        If the weights do not fit the network.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.load_network(uc.model.find_model()).training
    False
    """
    device = choose_device()
    return read_network(model, device, choose_precision(device, model.config.d_model))


def read_network(model: Model, device: torch.device | str = "cpu", precision: str = "float32") -> UCE:
    """As :func:`load_network`, on a given device and in a given precision.

    ``"bfloat16"`` keeps the weights of the transformer layers in bfloat16.
    """
    with _NoMemory():
        network = UCE(model.config)
    low = {"float32": set(), "bfloat16": _low_precision_names(network)}[precision]
    names = network.state_dict().keys() - _NOT_WEIGHTS
    path = model.path / _WEIGHTS
    state = {"pos_encoder.pe": network.pos_encoder.pe.to(device)}
    with safe_open(path, framework="pt") as file:
        _check_names(file.keys(), names, path)
        for name in names - low:
            state[name] = file.get_tensor(name).to(device)
    for name in low:
        # Tensors lie in the mapped file: opened again for each, its pages are freed once it is converted.
        with safe_open(path, framework="pt") as file:
            state[name] = file.get_tensor(name).to(device=device, dtype=torch.bfloat16)
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(requires_grad=False).eval()


def save_model(network: UCE, path: Path | str, *, pretraining: PretrainConfig | None = None) -> Model:
    """Write a network as a model directory.

    Parameters
    ----------
    network
        The network; its float32 weights are written as they are.
    path
        The directory; it must not hold a model. Gene tables of the model go into its ``tables`` folder, see
        :func:`univerce.genes.write_table`.
    pretraining
        The training configuration, to be recorded in ``config.json``.

    Returns
    -------
    The model written.

    Raises
    ------
    ValueError
        If ``path`` holds a model.

    Examples
    --------
    >>> import tempfile, univerce as uc
    >>> config = uc.model.UCEConfig(token_dim=8, d_model=8, n_heads=2, d_hidden=8, n_layers=1, output_dim=8)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     uc.model.save_model(uc.model.UCE(config), directory).config.token_dim
    8
    """
    state = {name: tensor for name, tensor in network.state_dict().items() if name not in _NOT_WEIGHTS}
    extra = {} if pretraining is None else {"pretraining": dataclasses.asdict(pretraining)}
    return _write(state, network.config, Path(path), extra)


def convert_checkpoint(source: Path | str, out_dir: Path | str, *, config: UCEConfig | None = None) -> Model:
    """Convert a released checkpoint to a model directory; only tensors are unpickled.

    Parameters
    ----------
    source
        A state dict saved by torch, such as ``4layer_model.torch``. Its token table (``pe_embedding.weight``) is not
        copied; gene tables hold the same features.
    out_dir
        The directory to write.
    config
        The architecture; by default that of the released model with as many layers.

    Returns
    -------
    The model written.

    Raises
    ------
    ValueError
        If the file is not a state dict of such a network (missing or unknown names, other shapes, values that are not
        finite, another position table), if it asks to run code, or if ``out_dir`` holds a model.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> import univerce as uc
    >>> config = uc.model.UCEConfig(token_dim=8, d_model=8, n_heads=2, d_hidden=8, n_layers=1, output_dim=8)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     checkpoint = Path(directory) / "checkpoint.torch"
    ...     torch.save(uc.model.UCE(config).state_dict(), checkpoint)
    ...     uc.model.convert_checkpoint(checkpoint, Path(directory) / "model", config=config).config.n_layers
    1
    """
    source = Path(source)
    state: dict[str, Tensor] = load_torch(source)
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{source} is not a state dict (a mapping from names to tensors).")
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if config is None:
        n_layers = len({name.split(".")[2] for name in state if name.startswith("transformer_encoder.layers.")})
        known = {c.n_layers: c for c in _RELEASED.values()}
        if n_layers not in known:
            raise ValueError(f"{source} has {n_layers} layers; the released models have 4 and 33. Pass config=.")
        config = known[n_layers]
    positions, expected = state.get("pos_encoder.pe"), sinusoids(config)
    if positions is not None and not (
        positions.shape == expected.shape and torch.allclose(positions.float(), expected, atol=1e-5)
    ):
        raise ValueError(f"{source}: pos_encoder.pe is not the sinusoidal table of this configuration.")
    state = {name: tensor for name, tensor in state.items() if name not in _NOT_WEIGHTS}
    _check_state(state, config, source)
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    return _write(state, config, Path(out_dir), {"source": source.name})


def _check_state(state: Mapping[str, Tensor], config: UCEConfig, source: Path) -> None:
    with _NoMemory():
        expected = {k: v.shape for k, v in UCE(config).state_dict().items() if k not in _NOT_WEIGHTS}
    _check_names(state, expected, source)
    for name, shape in expected.items():
        if state[name].shape != shape:
            raise ValueError(f"{source}: {name} has the shape {tuple(state[name].shape)}, expected {tuple(shape)}.")
        if not torch.isfinite(state[name]).all():
            raise ValueError(f"{source}: {name} holds values that are not finite.")


def _check_names(found: Iterable[str], expected: Iterable[str], source: Path) -> None:
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        raise ValueError(f"{source} does not fit the network: missing {missing[:5]}, unknown {unknown[:5]}.")


def _write(state: Mapping[str, Tensor], config: UCEConfig, path: Path, extra: Mapping[str, Any]) -> Model:
    """Write weights and config into ``path``; the config, which makes the directory a model, is written last."""
    if (path / _CONFIG).exists():
        raise ValueError(f"{path} already holds a model; choose another directory or remove it.")
    with replacing(path / _WEIGHTS) as part:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, part)
        digest = _digest(part, config)
    with replacing(path / _CONFIG) as part:
        part.write_text(json.dumps({"config": config.to_dict(), "digest": digest, **extra}, indent=2) + "\n")
        (path / _WEIGHTS).chmod(part.stat().st_mode)  # safetensors lets nobody else read it
    return Model(config, digest, path)


def _digest(weights: Path, config: UCEConfig) -> str:
    """SHA-256 of what decides an embedding; the model's name and its default sampling do not."""
    stat = weights.stat()
    sha = _hash_weights(weights.resolve(), stat.st_size, stat.st_mtime_ns, stat.st_ino).copy()
    neutral = config.to_dict() | {"model_id": "", "sampling": ""}
    sha.update(json.dumps(neutral, sort_keys=True).encode())
    return str(sha.hexdigest())


@lru_cache(maxsize=64)
def _hash_weights(path: Path, size: int, mtime_ns: int, inode: int) -> Any:
    """Hash a version of a file, once in a process."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _low_precision_names(network: nn.Module) -> set[str]:
    """Parameters that bfloat16 applies to: the products of the layers, not the norms."""
    names = set()
    for prefix, module in network.named_modules():
        if isinstance(module, Layer):
            for part in ("self_attn", "linear1", "linear2"):
                names |= {f"{prefix}.{part}.{n}" for n, _ in getattr(module, part).named_parameters()}
    return names

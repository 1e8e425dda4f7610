"""Models on disk: ``model.safetensors`` beside a ``config.json``, and the conversion of released checkpoints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from univerce._settings import settings
from univerce.genes.release.fetch import fetch
from univerce.genes.release.registry import RELEASED_MODELS
from univerce.genes.release.unpickle import load_torch
from univerce.model.config import UCE_4L, UCE_33L, UCEConfig
from univerce.model.network import UCE, Layer, sinusoids

if TYPE_CHECKING:
    from univerce.training.config import PretrainConfig

BUNDLED_MODEL = "uce-mini"
_BUNDLED = Path(__file__).resolve().parents[1] / "data"
_RELEASED = {"uce-4l": UCE_4L, "uce-33l": UCE_33L}
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_PRECISIONS = ("float32", "bfloat16")
_NOT_WEIGHTS = {"pe_embedding.weight", "pos_encoder.pe"}  # the token table, and a table that follows from the config


class _NoMemory(TorchFunctionMode):
    """Makes networks whose weights take no memory.

    Unlike under ``torch.device("meta")``, only empty tensors are made on the meta device, which the weights are before
    they are initialized: some other constructors (eye, arange) import torch's compiler there, which takes seconds.
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
        Its shape.
    digest
        SHA-256 of the weights and the config: the identity of its embedding space.
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
        first use; anything else is a directory that :func:`save_model` or :func:`convert_checkpoint` wrote.

    Returns
    -------
    The model's config, digest and directory.

    Raises
    ------
    ValueError
        When there is no such model, the weights are not those that were written, or they were trained on sentences that
        no embedding is made of.
    FileNotFoundError
        When a released model would have to be fetched and ``settings.offline`` is set.

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
        raise ValueError(f"{path / _CONFIG} is not what save_model() or convert_checkpoint() writes.")
    if only := written.get("pretraining", {}).get("for_training_only"):
        switches = ", ".join(f"{name}={value!r}" for name, value in only.items())
        raise ValueError(
            f"{path} was trained with {switches}: no embedding is made of such sentences. It is an ablation, judged by "
            "the validation loss in the log of its training."
        )
    config = UCEConfig.from_dict(written["config"])
    digest = _digest(path / _WEIGHTS, config)
    if digest != written["digest"]:
        raise ValueError(
            f"{path / _WEIGHTS} or its {_CONFIG} was changed after it was written; convert or fetch it again."
        )
    return Model(config, digest, path)


def _released(model: str) -> Path:
    """Directory of a released model, converted at first use; processes that come meanwhile wait for the first."""
    from filelock import FileLock

    path = settings.cache_dir / "models" / model
    if not (path / _CONFIG).is_file():
        source = fetch(RELEASED_MODELS[model])
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{model}.lock")):
            if not (path / _CONFIG).is_file():
                convert_checkpoint(source, path, config=_RELEASED[model])
    return path


def load_network(model: Model, *, device: str | torch.device = "cpu", precision: str = "float32") -> UCE:
    """Load the weights of a model for inference.

    Parameters
    ----------
    model
        From :func:`find_model`.
    device
        Torch device.
    precision
        ``"float32"``, or ``"bfloat16"``, which keeps the weights of the transformer layers in bfloat16.

    Returns
    -------
    The network in evaluation mode, without gradients.

    Raises
    ------
    ValueError
        When ``precision`` is unknown, or the weights lack a tensor of the network.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.load_network(uc.model.find_model()).training
    False
    """
    if precision not in _PRECISIONS:
        raise ValueError(f"precision={precision!r} is not known; use one of {', '.join(_PRECISIONS)}.")
    with _NoMemory():
        network = UCE(model.config)
    low = _low_precision_names(network) if precision == "bfloat16" else set()
    state = {"pos_encoder.pe": network.pos_encoder.pe.to(device)}
    with safe_open(model.path / _WEIGHTS, framework="pt") as file:
        if "pos_encoder.pe" in file.keys():  # noqa: SIM118  (no mapping)
            del state["pos_encoder.pe"]
        if missing := sorted(network.state_dict().keys() - state.keys() - set(file.keys())):
            names = ", ".join(missing[:5]) + ", ..." * (len(missing) > 5)
            raise ValueError(
                f"{model.path / _WEIGHTS} has no {names}, which the network of its {_CONFIG} needs; convert or save "
                "the model again."
            )
        for name in network.state_dict().keys() - low - state.keys():
            state[name] = file.get_tensor(name).to(device)
    for name in low:
        # Tensors lie in the mapped file: opened anew for each, what is converted gives its pages back at once.
        with safe_open(model.path / _WEIGHTS, framework="pt") as file:
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
        The directory, which must not exist or be empty of a model. Gene tables that belong to the model go into its
        ``tables`` folder, see :func:`univerce.genes.write_table`.
    pretraining
        The recipe that it was trained with, which is written down. A model that it forbids to embed with
        (:meth:`univerce.model.PretrainConfig.for_training_only`) will not be found by :func:`find_model`.

    Returns
    -------
    The model written.

    Examples
    --------
    >>> import tempfile, univerce as uc
    >>> config = uc.model.UCEConfig(token_dim=8, d_model=8, n_heads=2, d_hidden=8, n_layers=1, output_dim=8)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     uc.model.save_model(uc.model.UCE(config), directory).config.token_dim
    8
    """
    state = {name: tensor for name, tensor in network.state_dict().items() if name not in _NOT_WEIGHTS}
    positions = network.pos_encoder.pe.cpu()
    if not torch.equal(positions, sinusoids(network.config)):  # a network without positions
        state["pos_encoder.pe"] = positions
    extra: dict[str, Any] = {}
    if pretraining is not None:
        recipe = dataclasses.asdict(pretraining) | {"for_training_only": pretraining.for_training_only()}
        extra = {"pretraining": recipe}
    return _write(state, network.config, Path(path), extra)


def convert_checkpoint(source: Path | str, out_dir: Path | str, *, config: UCEConfig | None = None) -> Model:
    """Convert a released checkpoint to a model directory; nothing in it is unpickled but tensors.

    Parameters
    ----------
    source
        A state dict saved by torch, such as ``4layer_model.torch``. Its token table (``pe_embedding.weight``) is not
        copied: that is what gene tables are for.
    out_dir
        The directory to write.
    config
        The model's shape; by default that of the released model with as many layers.

    Returns
    -------
    The model written.

    Raises
    ------
    ValueError
        When the file is not a state dict of such a network: names missing or unknown, shapes that differ, values that
        are not finite, another position table; or when it asks to run code.

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
        raise ValueError(f"{source} is not a state dict: a mapping from names to tensors is needed.")
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
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise ValueError(f"{source} does not fit the network: missing {missing[:5]}, unknown {unknown[:5]}.")
    for name, shape in expected.items():
        if state[name].shape != shape:
            raise ValueError(f"{source}: {name} has the shape {tuple(state[name].shape)}, expected {tuple(shape)}.")
        if not torch.isfinite(state[name]).all():
            raise ValueError(f"{source}: {name} holds values that are not finite.")


def _write(state: Mapping[str, Tensor], config: UCEConfig, path: Path, extra: Mapping[str, Any]) -> Model:
    """Write weights and config into ``path``; the config comes last and makes the directory a model."""
    path.mkdir(parents=True, exist_ok=True)
    if (path / _CONFIG).exists():
        raise ValueError(f"{path} holds a model already; choose another directory or remove it.")
    scratch = Path(tempfile.mkdtemp(dir=path, prefix=".writing-"))
    try:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, scratch / _WEIGHTS)
        digest = _digest(scratch / _WEIGHTS, config)
        content = {"config": config.to_dict(), "digest": digest, **extra}
        (scratch / _CONFIG).write_text(json.dumps(content, indent=2) + "\n")
        (scratch / _WEIGHTS).chmod((scratch / _CONFIG).stat().st_mode)  # safetensors lets nobody else read it
        os.replace(scratch / _WEIGHTS, path / _WEIGHTS)
        os.replace(scratch / _CONFIG, path / _CONFIG)
    finally:
        shutil.rmtree(scratch)
    return Model(config, digest, path)


def _digest(weights: Path, config: UCEConfig) -> str:
    """SHA-256 of what decides an embedding; the model's name and its default sampling do not."""
    with weights.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256")
    neutral = config.to_dict() | {"model_id": "", "sampling": ""}
    sha.update(json.dumps(neutral, sort_keys=True).encode())
    return sha.hexdigest()


def _low_precision_names(network: nn.Module) -> set[str]:
    """Parameters that may be bfloat16: the products of the layers, not the norms."""
    names = set()
    for prefix, module in network.named_modules():
        if isinstance(module, Layer):
            for part in ("self_attn", "linear1", "linear2"):
                names |= {f"{prefix}.{part}.{n}" for n, _ in getattr(module, part).named_parameters()}
    return names

"""Networks from and to model directories."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from univerce._device import choose_device, choose_precision
from univerce._errors import FileError, reading
from univerce._validate import as_path
from univerce.model.directory import Model, write_model
from univerce.model.families import build_network
from univerce.model.layers import Layer

if TYPE_CHECKING:
    from univerce.model.network import UCE
    from univerce.training.config import PretrainConfig


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


def load_network(model: Model) -> UCE:
    """Load the weights of a model for inference, on ``settings.device`` and in ``settings.precision``.

    Parameters
    ----------
    model
        The model on disk, as :func:`find_model` returns it.

    Returns
    -------
    The network in evaluation mode, without gradients.

    Raises
    ------
    FileError
        A ``ValueError``, if the weights are damaged, do not fit the network or are not finite.
    ValueError
        If the model is linear and has no network.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.load_network(uc.model.find_model("uce-tiny")).training
    False
    """
    _check_sentences(model)
    device = choose_device()
    return read_network(model, device, choose_precision(device, model.config.d_model))


def read_network(model: Model, device: torch.device | str = "cpu", precision: str = "float32") -> Any:
    """As :func:`load_network`, on a given device and in a given precision.

    ``"bfloat16"`` keeps the weights of the transformer layers in bfloat16.
    """
    _check_sentences(model)
    with _NoMemory():
        network = build_network(model.config)
    low = {"float32": set(), "bfloat16": _low_precision_names(network)}[precision]
    state = {name: buffer.to(device) for name, buffer in network.named_buffers()}
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    with reading(model.weights, "a safetensors file"), safe_open(model.weights, framework="pt") as kept:
        check_names(kept.keys(), shapes, model.weights)
        for name, shape in shapes.items():
            # Checking reads all pages. In a separate mapping they are freed, and weights without use take no memory.
            with safe_open(model.weights, framework="pt") as file:
                weight = check_weight(file.get_tensor(name), name, shape, model.weights)
                if name in low:
                    state[name] = weight.to(device=device, dtype=torch.bfloat16)
                else:
                    state[name] = kept.get_tensor(name).to(device=device, dtype=torch.float32)
    network.load_state_dict(state, assign=True)
    return network.requires_grad_(requires_grad=False).eval()


def save_model(network: UCE, path: Path | str, *, pretraining: PretrainConfig | None = None) -> Model:
    """Write a network as a model directory.

    Parameters
    ----------
    network
        The network; its weights are written as they are. Half precision is read as float32.
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
        If ``path`` holds a model, or weights are not finite.

    Examples
    --------
    >>> import tempfile, univerce as uc
    >>> config = uc.model.UCEConfig(token_dim=8, d_model=8, n_heads=2, d_hidden=8, n_layers=1, output_dim=8)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     uc.model.save_model(uc.model.UCE(config), directory).config.token_dim
    8
    """
    state = {name: parameter.detach() for name, parameter in network.named_parameters()}
    extra = {} if pretraining is None else {"pretraining": dataclasses.asdict(pretraining)}
    return write_model(network.config, as_path(path), lambda part: save_weights(state, part), extra)


def save_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name; ``ValueError`` if one is not finite, as after a training that diverged."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite; the model is not written.")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def weight_shapes(config: Any) -> dict[str, torch.Size]:
    """Shape of every weight in the file of a model, by name."""
    with _NoMemory():
        return {name: parameter.shape for name, parameter in build_network(config).named_parameters()}


def check_names(found: Iterable[str], expected: Iterable[str], source: Path) -> None:
    """Raise ``FileError`` unless a file has the names of a network."""
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        raise FileError(f"{source} does not fit the network: missing {missing[:5]}, unknown {unknown[:5]}.")


def check_weight(weight: Tensor, name: str, shape: torch.Size, source: Path) -> Tensor:
    """Return a weight; ``FileError`` unless it has this shape and finite values."""
    if weight.shape != shape:
        raise FileError(
            f"{source} does not fit the network: {name} has the shape {tuple(weight.shape)}, expected {tuple(shape)}."
        )
    if not weight.is_floating_point():
        raise FileError(f"{source}: {name} holds {weight.dtype}, not floating point numbers.")
    if weight.numel() and not torch.stack(torch.aminmax(weight)).isfinite().all():  # NaN is both
        raise FileError(f"{source}: {name} holds values that are not finite.")
    return weight


def _check_sentences(model: Model) -> None:
    if not model.reads_sentences:
        raise ValueError(
            f"The model {model.config.model_id!r} is linear and has no network; uc.tl.uce_embed embeds cells with it."
        )


def _low_precision_names(network: nn.Module) -> set[str]:
    """Parameters that bfloat16 applies to: the products of the layers, not the norms."""
    names = set()
    for prefix, module in network.named_modules():
        if isinstance(module, Layer):
            for part in ("self_attn", "linear1", "linear2"):
                names |= {f"{prefix}.{part}.{n}" for n, _ in getattr(module, part).named_parameters()}
    return names

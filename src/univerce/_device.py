"""The device, precision and batch size that the settings ask for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from univerce._settings import DEVICES, logger, settings

if TYPE_CHECKING:
    import torch

_process: int | None = None
"""The process that first used torch."""

_ACTIVATIONS = 4 * 2**20
"""CPU: bytes of a batch's activations. With fewer the weights are repacked too often, more leave the caches."""
_CUDA_VALUES = 2**27
"""CUDA: tokens times width of a batch that keep a large GPU busy. More only take memory."""
_CUDA_LIVE = 16
"""CUDA: values in memory at a time for each of these, roughly."""


def choose_device(device: str | None = None) -> torch.device:
    """The torch device of ``settings.device``; ``"auto"`` prefers CUDA, then MPS, then the CPU.

    ``device`` overrides the setting unless it is ``None`` or ``"auto"``. ``ValueError`` if it is unknown or not
    available.
    """
    import torch

    _check_threads()
    device = settings.device if device in (None, "auto") else device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in DEVICES[1:] or (":" in device and not index.isdecimal()):
        raise ValueError(f"device={device!r} is not known; use one of {', '.join(DEVICES)}, or for example 'cuda:1'.")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(
            f"device={device!r} is not available: torch finds no {kind.upper()} on this machine. Use 'cpu'."
        )
    n_devices = torch.cuda.device_count() if kind == "cuda" else 1
    if index and int(index) >= n_devices:
        raise ValueError(
            f"device={device!r} is not available; the last {kind.upper()} device is '{kind}:{n_devices - 1}'."
        )
    return torch.device(device)


def _check_threads() -> None:
    """Compute with one thread in a process that was forked after torch was used: it has lost the threads of OpenMP."""
    import torch

    global _process
    if _process is None:
        _process = os.getpid()
    if _process != os.getpid() and torch.get_num_threads() > 1:
        logger.warning(
            "This process was forked from one that used torch, and computes with one thread. Start it with spawn "
            "to use more."
        )
        torch.set_num_threads(1)


def choose_precision(device: torch.device, d_model: int) -> str:
    """``settings.precision``; ``"auto"`` is bfloat16 where the hardware and a model of this width gain from it."""
    import torch

    if settings.precision != "auto":
        return settings.precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "cpu" and d_model >= 512 and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "bfloat16"
    return "float32"


def choose_batch_size(device: torch.device, d_model: int, length: int, precision: str = "float32") -> int:
    """``settings.batch_size``; ``"auto"`` fits the CPU's caches, or keeps a GPU busy in half of its free memory.

    ``length`` is the number of tokens in the longest sentence, ``d_model`` the width of the network.
    """
    if settings.batch_size != "auto":
        return int(settings.batch_size)
    import torch

    values = d_model * length
    size = 2 if precision == "bfloat16" else 4
    if device.type != "cuda":
        return max(1, _ACTIVATIONS // (size * values))
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(_CUDA_VALUES, free // (2 * _CUDA_LIVE * size)) // values)

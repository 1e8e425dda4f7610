"""Which device, and which precision on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from univerce._settings import DEVICES

if TYPE_CHECKING:
    import torch


def choose_device(device: str) -> torch.device:
    """The torch device meant by ``"auto"`` or a name; ``ValueError`` when it is unknown or not there."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in DEVICES[1:] or (":" in device and not index.isdecimal()):
        raise ValueError(f"device={device!r} is not known; use one of {', '.join(DEVICES)}, or for example 'cuda:1'.")
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"device={device!r} is not there: torch finds no {kind.upper()} on this machine; use 'cpu'.")
    n_devices = torch.cuda.device_count() if kind == "cuda" else 1
    if index and int(index) >= n_devices:
        raise ValueError(f"device={device!r} is not there: the last {kind.upper()} is '{kind}:{n_devices - 1}'.")
    return torch.device(device)


def choose_precision(precision: str, device: torch.device, d_model: int) -> str:
    """``"auto"`` is bfloat16 where the hardware multiplies it natively and the model is large enough to gain."""
    import torch

    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "cpu" and d_model >= 512 and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "bfloat16"
    return "float32"

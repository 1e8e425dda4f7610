"""One process or many: what training needs to know of its fellows, and how they are started.

One process needs nothing but torch. More are lightning Fabric's business (the extra ``train``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from univerce._device import choose_device


class Alone:
    """The part of ``lightning.fabric.Fabric`` that training calls, for a single process.

    Parameters
    ----------
    device
        As :func:`~univerce._device.choose_device` takes it.
    """

    global_rank, world_size = 0, 1

    def __init__(self, device: str) -> None:
        self.device = choose_device(device)

    def setup_module(self, module: nn.Module) -> nn.Module:
        """The module as it is."""
        return module

    def no_backward_sync(self, module: nn.Module, enabled: bool = True) -> AbstractContextManager[None]:
        """There is nobody to wait for."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients."""
        loss.backward()

    def all_reduce(self, data: Tensor) -> Tensor:
        """The mean over one process."""
        return data

    def barrier(self) -> None:
        """There is nobody to wait for."""


def is_first() -> bool:
    """Whether this is the process that reports and writes results, when ``torchrun`` or the like started several."""
    return int(os.environ.get("RANK", "0")) == 0


def n_processes(devices: int) -> int:
    """Processes that will train: those that were started from outside, else as many as devices are asked for."""
    return int(os.environ.get("WORLD_SIZE", devices))


def launch(function: Callable[..., Any], *args: Any, device: str, devices: int) -> Any:
    """Call ``function(fabric, *args)`` in every process.

    Parameters
    ----------
    function
        A function that can be imported.
    *args
        Its further arguments; they are pickled when processes are started here.
    device
        Torch device; with several processes its kind alone counts.
    devices
        Number of devices of this machine. Processes that ``torchrun`` or the like has started are taken as they are.

    Returns
    -------
    What the function returned, or None when it ran in processes that were started here.

    Raises
    ------
    ImportError
        When several processes are meant and lightning is not installed.
    """
    outside = n_processes(1) > 1
    if not outside and devices == 1:
        return function(Alone(device), *args)
    try:
        from lightning.fabric import Fabric
    except ImportError as error:
        raise ImportError(
            f"Training on {n_processes(devices)} devices needs lightning: pip install 'univerce[train]'. One device "
            "needs nothing more."
        ) from error
    kind = choose_device(device).type
    if not outside:
        # Spawned: a process that ran the whole script anew would do all else that the script does once more.
        Fabric(accelerator=kind, devices=devices, strategy="ddp_spawn").launch(partial(_call, function, args))
        return None
    local = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    fabric = Fabric(accelerator=kind, devices=local, num_nodes=n_processes(1) // local, strategy="ddp")
    fabric.launch()
    return function(fabric, *args)


def _call(function: Callable[..., Any], args: tuple[Any, ...], fabric: Any) -> None:
    """Keep arguments and result from Fabric, which looks into both for tensors and breaks on frozen dataclasses."""
    function(fabric, *args)


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers of torch that depend on the seed alone; outside the context the generators are as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield

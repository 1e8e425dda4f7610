"""The processes of a training, by lightning Fabric."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from univerce._device import choose_device


def is_first() -> bool:
    """Whether this process reports and writes results, if ``torchrun`` or the like started several."""
    return int(os.environ.get("RANK", "0")) == 0


def n_processes(devices: int) -> int:
    """Number of training processes: those that ``torchrun`` or the like started, otherwise one per device."""
    return int(os.environ.get("WORLD_SIZE", devices))


def launch(function: Callable[[Any], None], devices: int) -> None:
    """Call ``function(fabric)`` in every process, on the device of the settings.

    Several ``devices`` of this machine get processes that are started here, and ``function`` is pickled; processes that
    ``torchrun`` or the like started are used as they are.
    """
    try:
        from lightning.fabric import Fabric
    except ImportError as error:
        raise ImportError('Pretraining needs lightning: pip install "univerce[train]".') from error
    device = choose_device()
    if n_processes(1) > 1:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
        fabric = Fabric(accelerator=device.type, devices=local, num_nodes=n_processes(1) // local, strategy="ddp")
    elif devices > 1:
        # Spawned processes do not run the user's script again.
        fabric = Fabric(accelerator=device.type, devices=devices, strategy="ddp_spawn")
    else:
        fabric = Fabric(accelerator=device.type, devices=1 if device.index is None else [device.index])
    fabric.launch(function)


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seed the random numbers of torch; after the context the generators are as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield

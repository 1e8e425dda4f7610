"""How much memory a piece of work takes at its peak."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """What a piece of work took."""

    seconds: float = float("nan")
    peak_mb: float = float("nan")
    """Highest resident memory of the process during the work less that at its beginning, MB of 10^6 bytes; NaN where
    the kernel does not tell. Memory that an earlier piece of work left allocated and this one uses again counts as
    none, memory of child processes and of an accelerator does not count."""


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what happens in the block."""
    cost = Cost()
    before, reset = _resident("VmRSS"), _reset_peak()
    began = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - began
        cost.peak_mb = max(_resident("VmHWM") - before, 0.0) if reset else float("nan")


def _reset_peak() -> bool:
    """Let the kernel count the peak from here on; whether it does."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> float:
    """MB, NaN when the system has no such file."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:")), float("nan"))

"""Seconds and memory that a method takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """Seconds and the peak resident memory above that before, in MB; NaN where the kernel has no such counter.

    Reused memory, child processes and accelerators are not counted.
    """
    cost: dict[str, Any] = {}
    before, counted = _resident("VmRSS"), True
    try:
        _RESET.write_text("5")
    except OSError:
        counted = False
    began = time.perf_counter()
    yield cost
    cost["seconds"] = time.perf_counter() - began
    cost["peak_mb"] = max(_resident("VmHWM") - before, 0.0) if counted else float("nan")


def _resident(name: str) -> float:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{name}:")), float("nan"))

"""What was measured, as tables that the documentation includes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from tests.perf.table import as_text


def record(name: str, title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to ``$PERF_DOCS/<name>.md``, where that is set, with what it was measured on."""
    if (directory := docs_directory()) is None:
        return
    n_threads = torch.get_num_threads()
    lines = [
        f"*{title}; {n_threads} thread{'s' * (n_threads > 1)} of {_processor()}, torch {torch.__version__}.*",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' + '---:|' * (len(header) - 1)}",
        *(f"| {' | '.join(as_text(cell) for cell in row)} |" for row in rows),
    ]
    (directory / f"{name}.md").write_text("\n".join(lines) + "\n")


def docs_directory() -> Path | None:
    """Where tables and figures go, if anywhere."""
    if not (path := os.environ.get("PERF_DOCS")):
        return None
    Path(path).mkdir(parents=True, exist_ok=True)
    return Path(path)


def _processor() -> str:
    """The name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next((name for name in names if name and name != "unknown"), f"a CPU ({platform.machine()})")

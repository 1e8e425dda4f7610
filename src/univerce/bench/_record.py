"""What has to be known to compute a table again: versions, hardware."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "anndata", "harmonypy", "jax", "numpy", "scanpy", "scib-metrics", "scikit-learn", "scipy", "scvi-tools", "torch",
    "transformers", "univerce",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of the installed packages that take part."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> str:
    """Processor, cores that this process may use, and memory."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{model or platform.machine()}, {cores} core{'s' * (cores != 1)}"
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        text += f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    threads = os.environ.get("OMP_NUM_THREADS")
    return text + (f", OMP_NUM_THREADS={threads}" if threads else "")

"""Arrays in a sealed file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from univerce.io.atomic import replacing
from univerce.io.seal import is_intact, seal


def write_arrays(path: Path, **arrays: Any) -> None:
    """Write arrays by name; equal arrays give equal bytes."""
    with replacing(path) as part:
        with part.open("wb") as file:
            np.savez(file, **arrays)
        seal(part)


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Read the arrays of :func:`write_arrays`; ``None`` if the file is missing or damaged."""
    if not path.is_file() or not is_intact(path):
        return None
    with np.load(path, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}

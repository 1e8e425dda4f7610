"""MatrixMarket files."""

from __future__ import annotations

import inspect
from typing import Any

from scipy.io import mmread


def read_mtx(source: Any) -> Any:
    """Read a matrix, dense or a sparse array, as scipy 1.20 will by default; before scipy 1.15 a sparse matrix."""
    options = {"spmatrix": False} if "spmatrix" in inspect.signature(mmread).parameters else {}
    return mmread(source, **options)

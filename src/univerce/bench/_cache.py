"""Embeddings and scores on disk, by the hash of everything that determines them."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce._settings import logger
from univerce.bench._method import Method
from univerce.bench._versions import versions
from univerce.io.arrays import read_arrays, write_arrays

_SHARED = ("univerce.bench.methods.", "univerce.bench._expression")
"""Modules whose code is part of the key of the methods that import them."""


def data_digest(adata: ad.AnnData) -> str:
    """SHA-256 of what a method sees: the counts, ``obs``, ``var`` and the texts in ``uns``."""
    x = sp.csr_matrix(adata.X)
    digest = hashlib.sha256(repr(adata.shape).encode())
    for part in (x.data, x.indices, x.indptr):
        digest.update(np.ascontiguousarray(part).tobytes())
    for frame in (adata.obs, adata.var):
        digest.update("\0".join(map(str, frame.columns)).encode())
        plain = frame.astype({c: str for c in frame if frame[c].dtype.kind not in "biuf"})
        digest.update(pd.util.hash_pandas_object(plain).to_numpy().tobytes())
    digest.update(json.dumps(dict(adata.uns), sort_keys=True, default=str).encode())
    return digest.hexdigest()


def cache_key(
    method: Method, data: str, *, batch_key: str | None, groupby: str | None, seed: int, options: Mapping[str, Any]
) -> str | None:
    """Name of an embedding in the cache; None for closures and interactive functions, whose code does not suffice."""
    try:
        code = _code(method.embed.__module__)
    except (OSError, TypeError, KeyError, AttributeError):
        return None
    if method.embed.__closure__ or method.embed.__module__ == "__main__":
        return None
    key = {
        "data": data, "batch_key": batch_key, "groupby": groupby, "seed": seed, "method": method.name,
        "function": method.embed.__qualname__, "code": code,
        "options": {name: _content(value) for name, value in sorted(options.items())},
        "weights": None if method.digest is None else method.digest(options),
        "versions": versions(),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _code(module: str, seen: frozenset[str] = frozenset()) -> str:
    """SHA-256 of the code of a module and of the modules of :data:`_SHARED` that it imports, without comments."""
    found = sys.modules[module]
    digest = hashlib.sha256(ast.dump(ast.parse(inspect.getsource(found))).encode())
    imported = {str(getattr(value, "__module__", "")) for value in vars(found).values()}
    for name in sorted(imported - {module} - seen):
        if name.startswith(_SHARED) and module.startswith(_SHARED):
            digest.update(_code(name, seen | {module}).encode())
    return digest.hexdigest()


def _content(value: Any) -> Any:
    """An option as text; the content of a file or directory in place of its path."""
    if not (isinstance(value, str | Path) and str(value) and Path(value).exists()):
        return repr(value)
    root = Path(value)
    digest = hashlib.sha256()
    for path in [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(root)).encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_cached(directory: Path | None, key: str | None) -> tuple[np.ndarray, dict[str, Any]] | None:
    """An embedding and what was recorded with it, or None."""
    if directory is None or key is None or (stored := _read(directory / f"{key}.npz")) is None:
        return None
    return stored["embedding"], json.loads(str(stored["info"]))


def write_cached(directory: Path | None, key: str | None, embedding: np.ndarray, info: Mapping[str, Any]) -> None:
    """Write an embedding to the cache."""
    if directory is not None and key is not None:
        text = np.array(json.dumps(dict(info), default=str))
        write_arrays(directory / f"{key}.npz", embedding=embedding, info=text)


def cached_numbers(
    directory: Path | None, parts: Sequence[np.ndarray], compute: Callable[[], Mapping[str, float]]
) -> Mapping[str, float]:
    """Numbers determined by arrays and the installed versions, computed once."""
    if directory is None:
        return compute()
    digest = hashlib.sha256(json.dumps(versions(), sort_keys=True).encode())
    for array in parts:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    path = directory / f"{digest.hexdigest()}.npz"
    if (stored := _read(path)) is None:
        stored = {name: np.array(value, dtype=np.float64) for name, value in compute().items()}
        write_arrays(path, **stored)
    return {name: float(value) for name, value in stored.items()}


def _read(path: Path) -> dict[str, np.ndarray] | None:
    stored = read_arrays(path)
    if stored is None and path.exists():
        logger.warning("%s in the cache is damaged and is computed again.", path)
    return stored

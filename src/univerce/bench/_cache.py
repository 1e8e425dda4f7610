"""Embeddings on disk, under the hash of everything that decides them."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce.bench import methods
from univerce.bench._method import Method
from univerce.bench._record import versions

METHODS = methods.__name__


def data_digest(adata: ad.AnnData) -> str:
    """SHA-256 of what a method is shown: the counts, ``obs``, ``var`` and the texts in ``uns``."""
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
    method: Method, data: str, *, batch: str | None, labels: str | None, seed: int, options: Mapping[str, Any]
) -> str | None:
    """Name of an embedding in the cache; ``None`` for a method whose code cannot be told by its text.

    A function that was made inside another one may hold values that are no option, and one that was typed has no file.
    """
    try:
        code = _code(method.embed.__module__)
    except (OSError, TypeError, KeyError, AttributeError):
        return None
    if method.embed.__closure__ or method.embed.__module__ == "__main__":
        return None
    told = {
        "data": data, "batch": batch, "labels": labels, "seed": seed, "method": method.name,
        "function": method.embed.__qualname__, "code": code,
        "options": {name: _told(value) for name, value in sorted(options.items())},
        "weights": None if method.digest is None else method.digest(options),
        "versions": versions(),
    }  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _code(module: str, seen: frozenset[str] = frozenset()) -> str:
    """SHA-256 of the code of a module and of what it takes from modules beside it; comments do not count."""
    found = sys.modules[module]
    digest = hashlib.sha256(ast.dump(ast.parse(inspect.getsource(found))).encode())
    beside = {str(getattr(value, "__module__", "")) for value in vars(found).values()}
    for name in sorted(beside - {module} - seen):
        if name.startswith(f"{METHODS}.") and module.startswith(f"{METHODS}."):
            digest.update(_code(name, seen | {module}).encode())
    return digest.hexdigest()


def _told(value: Any) -> Any:
    """An option as text; a file or directory stands for its content."""
    if isinstance(value, str | Path) and str(value) and Path(value).exists():
        root = Path(value)
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        digest = hashlib.sha256()
        for path in files:
            digest.update(str(path.relative_to(root)).encode())
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()
    return repr(value)


def read_cached(directory: Path | None, key: str | None) -> tuple[np.ndarray, dict[str, Any]] | None:
    """An embedding and what was noted with it, if it is there."""
    if directory is None or key is None or not (path := directory / f"{key}.npz").is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return stored["embedding"], json.loads(str(stored["info"]))


def write_cached(directory: Path | None, key: str | None, embedding: np.ndarray, info: Mapping[str, Any]) -> None:
    """Keep an embedding; the file appears when it is whole."""
    if directory is None or key is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    part = directory / f".{uuid.uuid4().hex}.npz"
    try:
        np.savez_compressed(part, embedding=embedding, info=np.array(json.dumps(dict(info), default=str)))
        part.replace(directory / f"{key}.npz")
    finally:
        part.unlink(missing_ok=True)


def cached_numbers(
    directory: Path | None, parts: Sequence[np.ndarray], compute: Callable[[], Mapping[str, float]]
) -> Mapping[str, float]:
    """Numbers that follow from arrays and the installed versions, computed once."""
    if directory is None:
        return compute()
    digest = hashlib.sha256(json.dumps(versions(), sort_keys=True).encode())
    for part in parts:
        digest.update(f"{part.dtype.str}{part.shape}".encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    path = directory / f"{digest.hexdigest()}.json"
    if path.is_file():
        return {str(name): float(value) for name, value in json.loads(path.read_text()).items()}
    found = compute()
    directory.mkdir(parents=True, exist_ok=True)
    part_of_file = directory / f".{uuid.uuid4().hex}.json"
    try:
        part_of_file.write_text(json.dumps(dict(found)))
        part_of_file.replace(path)
    finally:
        part_of_file.unlink(missing_ok=True)
    return found

"""AnnData whose matrices stay on disk, and the digest of an embedding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

_DIGEST_ROWS = 16384
_SPARSE = ("csr_matrix", "csc_matrix")


def open_anndata(path: Path | str, *, expression: bool = False) -> ad.AnnData:
    """Open a ``.zarr`` or ``.h5ad``; ``obs``, ``var`` and ``uns`` are read, matrices stay on disk.

    ``X``, ``layers`` and ``var`` are opened only for ``expression``. A file stays open while its matrices are in use.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {str(path)!r}.")
    group = _open_group(path)
    if group is None or "obs" not in group:
        raise ValueError(f"{str(path)!r} is not an AnnData. Pass an .h5ad file or a .zarr directory.")
    parts = ["obsm", "layers"] if expression else ["obsm"]
    values = {part: {key: _lazily(group[part][key]) for key in group.get(part, ())} for part in parts}
    values |= {part: ad.io.read_elem(group[part]) for part in ("obs", "uns", *(["var"] * expression)) if part in group}
    return ad.AnnData(_lazily(group["X"]) if expression and "X" in group else None, **values)


@contextmanager
def opened(path: Path | str, *, expression: bool = False) -> Iterator[ad.AnnData]:
    """Open as :func:`open_anndata` and close the file at the end."""
    adata = open_anndata(path, expression=expression)
    try:
        yield adata
    finally:
        for matrix in (adata.X, *adata.layers.values(), *adata.obsm.values()):
            node = getattr(matrix, "group", matrix)
            if hasattr(node, "file"):
                node.file.close()
                break


def embedding_digest(rep: Any) -> str:
    """SHA-256 of the shape, dtype and values of an embedding, in memory or on disk."""
    sha = hashlib.sha256(f"{tuple(rep.shape)} {np.dtype(rep.dtype).str}".encode())
    for start in range(0, rep.shape[0], _DIGEST_ROWS):
        sha.update(np.ascontiguousarray(rep[start : start + _DIGEST_ROWS]).tobytes())
    return sha.hexdigest()


def _open_group(path: Path) -> Any:
    import h5py
    import zarr

    if not path.is_dir():
        return h5py.File(path, "r") if h5py.is_hdf5(path) else None
    try:
        return zarr.open_group(path, mode="r")
    except FileNotFoundError:  # raised by zarr for a directory without a zarr
        return None


def _lazily(node: Any) -> Any:
    """A matrix on disk; anything else is read."""
    if node.attrs.get("encoding-type") in _SPARSE:
        return ad.io.sparse_dataset(node)
    if getattr(node, "ndim", 0) == 2 and np.dtype(node.dtype).kind in "fiub":
        return node
    return ad.io.read_elem(node)

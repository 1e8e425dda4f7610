"""AnnData whose matrices stay on disk, and the digest of an embedding."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import zarr

from univerce._errors import reading
from univerce._validate import as_path
from univerce.io.atomic import recover
from univerce.io.compressed import check_chunks
from univerce.io.intact import check_listing, read_rows

_DIGEST_ROWS = 16384
_SMALL, _MOST = 2**30, 500  # bytes that any file may state, and for each byte that it has
_MANY = 100_000  # elements
_SPARSE = ("csr_matrix", "csc_matrix")


def open_anndata(path: Path | str, *, expression: bool = False) -> ad.AnnData:
    """Open a ``.zarr`` or ``.h5ad``; ``obs``, ``var`` and ``uns`` are read, matrices stay on disk.

    ``X``, ``layers``, ``raw`` and ``var`` are opened only for ``expression``. A file stays open while its matrices are
    in use. Files of anndata before 0.7 are read as a whole. :class:`univerce.FileError` if it is damaged or not an
    AnnData.
    """
    path = as_path(path).absolute()  # matrices are read after the working directory has changed
    recover(path)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {str(path)!r}.")
    with reading(path, "an AnnData", parts=True):
        check_listing(path)
        group = _open_group(path)
        if group is None or "obs" not in group:
            raise ValueError(f"{str(path)!r} is not an AnnData. Pass an .h5ad file or a .zarr directory.")
        if hasattr(group["obs"], "dtype"):  # a table in one array
            return ad.read_zarr(path) if path.is_dir() else ad.read_h5ad(path)
        parts = ["obsm", "layers"] if expression else ["obsm"]
        values = {part: {key: _lazily(group[part][key]) for key in group.get(part, ())} for part in parts}
        for part in ("obs", "uns", *(["var"] * expression)):
            if part in group:
                check_sizes(group[part], path)
                values[part] = ad.io.read_elem(group[part])
        raw = group.get("raw") if expression else None
        if raw is not None and hasattr(raw, "keys"):  # zarr holds an empty array for none
            check_sizes(raw["var"], path)
            values["raw"] = {"X": _lazily(raw["X"]), "var": ad.io.read_elem(raw["var"])}
        return ad.AnnData(_lazily(group["X"]) if expression and "X" in group else None, **values)


def read_h5ad(path: Path | str, *, backed: bool = False) -> ad.AnnData:
    """Read an ``.h5ad`` as anndata does, or with its matrix left on disk; :class:`univerce.FileError` if damaged."""
    path = as_path(path)
    with reading(path, "an .h5ad"):
        with h5py.File(path, "r") as file:
            for part in file:
                if part != "X" or not backed:
                    check_sizes(file[part], path)
        return ad.read_h5ad(path, backed="r" if backed else None)


def read_zarr(path: Path | str) -> ad.AnnData:
    """Read a ``.zarr`` as anndata does; :class:`univerce.FileError` if damaged."""
    path = as_path(path)
    recover(path)
    if not path.exists():
        raise FileNotFoundError(f"There is nothing at {str(path)!r}.")
    with reading(path, "a .zarr", parts=True):
        check_sizes(zarr.open_group(path, mode="r"), path)
        return ad.read_zarr(path)


def check_sizes(node: Any, path: Path) -> None:
    """Raise ``ValueError`` if arrays state far more bytes than a file can hold.

    Chunks that are missing read as zeros: a file of a kilobyte can ask for all memory.
    """
    nodes, n_nodes, stated = [node], 0, 0
    while nodes and n_nodes < _MANY:
        node, n_nodes = nodes.pop(), n_nodes + 1
        if hasattr(node, "shape"):
            check_chunks(node)
            stated += math.prod(node.shape or ()) * np.dtype(node.dtype).itemsize
        else:
            nodes += [node[key] for key in node]
    if nodes:
        raise ValueError(f"{path} has more than {_MANY:,} elements, or groups that contain themselves.")
    _compare(stated, path)


def check_unpacked(path: Path) -> None:
    """As :func:`check_sizes`, of what a zip unpacks to; nothing is unpacked."""
    with zipfile.ZipFile(path) as archive:
        _compare(sum(entry.file_size for entry in archive.infolist()), path)


def _compare(stated: int, path: Path) -> None:
    if stated > _SMALL and stated > _MOST * _size(path):
        raise ValueError(f"{path} states {stated:,} bytes, more than {_MOST} times its size.")


def _size(path: Path) -> int:
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size


@contextmanager
def opened(path: Path | str, *, expression: bool = False) -> Iterator[ad.AnnData]:
    """Open as :func:`open_anndata` and close the file at the end."""
    adata = open_anndata(path, expression=expression)
    try:
        yield adata
    finally:
        raw = [] if adata.raw is None else [adata.raw.X]
        for matrix in (adata.X, *adata.layers.values(), *adata.obsm.values(), *raw):
            node = getattr(matrix, "group", matrix)
            if hasattr(node, "file"):
                node.file.close()
                break


def embedding_digest(rep: Any) -> str:
    """SHA-256 of the shape, dtype and values of an embedding, in memory or on disk."""
    sha = hashlib.sha256(f"{tuple(rep.shape)} {np.dtype(rep.dtype).str}".encode())
    for start in range(0, rep.shape[0], _DIGEST_ROWS):
        sha.update(np.ascontiguousarray(read_rows(rep, slice(start, start + _DIGEST_ROWS), None)).tobytes())
    return sha.hexdigest()


def _open_group(path: Path) -> Any:
    if not path.is_dir():
        return h5py.File(path, "r") if h5py.is_hdf5(path) else None
    try:
        return zarr.open_group(path, mode="r")
    except FileNotFoundError:  # raised by zarr for a directory without a zarr
        return None


def _lazily(node: Any) -> Any:
    """A matrix on disk; anything else is read."""
    check_chunks(node)
    if node.attrs.get("encoding-type") in _SPARSE:
        return ad.io.sparse_dataset(node)
    if getattr(node, "ndim", 0) == 2 and np.dtype(node.dtype).kind in "fiub":
        return node
    return ad.io.read_elem(node)

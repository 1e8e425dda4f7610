"""A count matrix in a file, as another process can open it for itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from anndata.abc import CSRDataset

from univerce.io.blocks import library


@dataclass(frozen=True, eq=False)  # a zarr array has no hash, and readers are kept by source
class Source:
    """Where a matrix lies; it travels where the matrix need not.

    Examples
    --------
    >>> import anndata as ad, numpy as np, tempfile
    >>> from pathlib import Path
    >>> from univerce.io.source import find_source
    >>> path = Path(tempfile.mkdtemp()) / "cells.h5ad"
    >>> ad.AnnData(np.eye(3)).write_h5ad(path)
    >>> source = find_source(ad.read_h5ad(path, backed="r").X)
    >>> source.element, source.open().shape
    ('/X', (3, 3))
    """

    where: Any
    """Path of an HDF5 file or of a zarr directory; a zarr array or group when it lies elsewhere."""
    element: str = ""
    """Name of the matrix in the file."""

    def open(self) -> Any:
        """The matrix, not read yet."""
        import h5py
        import zarr
        from anndata.io import sparse_dataset

        node = self.where
        if isinstance(node, str):
            is_zarr = Path(node).is_dir()
            node = zarr.open(node, path=self.element, mode="r") if is_zarr else h5py.File(node, "r")[self.element]
        return sparse_dataset(node) if isinstance(node, h5py.Group | zarr.Group) else node


def find_source(X: Any) -> Source | None:
    """Where the rows of ``X`` can be read by themselves, if they can.

    Parameters
    ----------
    X
        Any matrix that :func:`~univerce.io.blocks.iter_blocks` reads.

    Returns
    -------
    ``None`` for what is in memory, a CSC matrix, which has no cheap rows, a view, and a dask array that is more than a
    matrix of ``anndata.experimental.read_lazy``.
    """
    if library(X) == "dask":
        return _of_lazy(X)
    if not isinstance(X, CSRDataset) and library(X) not in ("h5py", "zarr"):
        return None
    node = X.group if isinstance(X, CSRDataset) else X
    if hasattr(node, "file"):
        return Source(str(Path(node.file.filename).resolve()), node.name)
    from zarr.storage import LocalStore, MemoryStore

    if isinstance(node.store, MemoryStore):
        return None
    return Source(str(node.store.root.resolve()), node.path) if isinstance(node.store, LocalStore) else Source(node)


def _of_lazy(X: Any) -> Source | None:
    """The file behind a dask array that anndata made, and on which nothing was computed since."""
    layers = getattr(X.dask, "layers", {})
    if len(layers) != 1:
        return None
    chunk = _find_reader(next(iter(X.dask.values())))
    if chunk is None or len(chunk.args) != 2:
        return None
    where, element = chunk.args
    found = Source(str(where.resolve()), element) if isinstance(where, Path) else find_source(where)
    stored = None if found is None else found.open()
    fits = stored is not None and library(stored) != "dask" and tuple(stored.shape) == tuple(X.shape)
    return found if fits and find_source(stored) is not None else None


def _find_reader(task: Any) -> partial | None:
    """The function by which anndata reads a chunk, somewhere in a task of dask."""
    if isinstance(task, partial):
        return task if getattr(task.func, "__name__", "") == "make_dask_chunk" else None
    inside = task if isinstance(task, tuple | list) else [getattr(task, "value", None), *getattr(task, "args", ())]
    return next((found for part in inside if part is not None and (found := _find_reader(part)) is not None), None)

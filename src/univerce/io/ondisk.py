"""A matrix in a file, as another process can open it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from anndata.abc import CSRDataset


def library(X: Any) -> str | None:
    """The optional library of the array ``X``, without importing it."""
    for cls in type(X).__mro__:
        module = cls.__module__.split(".")[0]
        if (module, cls.__name__) in {("h5py", "Dataset"), ("zarr", "Array"), ("dask", "Array")}:
            return module
    return None


@dataclass(frozen=True, eq=False)  # a zarr array has no hash, and readers are cached by this object
class OnDisk:
    """The place of a matrix; it is sent to other processes instead of the matrix."""

    path: Any
    """Path of an HDF5 file or a zarr directory, as text; a zarr array or group if it is elsewhere."""
    element: str
    """Name of the matrix in the file."""
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def find(cls, X: Any) -> Self | None:
        """Locate a matrix whose rows can be read from a file.

        ``None`` for a matrix in memory, a view, CSC (whose rows are expensive to read), and a dask array unless it is
        an unchanged matrix of ``anndata.experimental.read_lazy``.
        """
        if library(X) == "dask":
            return cls._find_lazy(X)
        if not isinstance(X, CSRDataset) and library(X) not in ("h5py", "zarr"):
            return None
        from zarr.storage import LocalStore, MemoryStore

        node: Any = X.group if isinstance(X, CSRDataset) else X
        described = tuple(X.shape), np.dtype(X.dtype).str
        if hasattr(node, "file"):
            return cls(str(Path(node.file.filename).resolve()), node.name, *described)
        if isinstance(node.store, MemoryStore):
            return None
        if isinstance(node.store, LocalStore):
            return cls(str(node.store.root.resolve()), node.path, *described)
        return cls(node, "", *described)

    def open(self) -> Any:
        """Open the matrix without reading it; ``ValueError`` if its shape or dtype has changed."""
        X = _open(self.path, self.element)
        found = tuple(X.shape), np.dtype(X.dtype).str
        if found != (self.shape, self.dtype):
            raise ValueError(
                f"The matrix at {self.path}{self.element} differs on the worker ({found[0]} {found[1]}, not "
                f"{self.shape} {self.dtype}). All workers must see the same files."
            )
        return X

    @classmethod
    def _find_lazy(cls, X: Any) -> Self | None:
        """The file of a dask array that anndata made and that nothing was computed on."""
        layers = getattr(X.dask, "layers", {})
        if len(layers) != 1:
            return None
        chunk = _find_reader(next(iter(X.dask.values())))
        if chunk is None or len(chunk.args) != 2:
            return None
        where, element = chunk.args
        found = cls.find(_open(str(where.resolve()), element) if isinstance(where, Path) else where)
        return found if found is not None and found.shape == tuple(X.shape) else None


def stored(X: Any) -> Any:
    """The CSR matrix in a file that a lazy one stands for, which is read without dask; any other matrix as it is."""
    place = OnDisk.find(X) if library(X) == "dask" else None
    found = X if place is None else place.open()
    return found if isinstance(found, CSRDataset) else X


def _open(path: Any, element: str) -> Any:
    import h5py
    import zarr
    from anndata.io import sparse_dataset

    node = path
    if isinstance(path, str):
        node = zarr.open(path, path=element, mode="r") if Path(path).is_dir() else h5py.File(path, "r")[element]
    return sparse_dataset(node) if isinstance(node, h5py.Group | zarr.Group) else node


def _find_reader(task: Any) -> partial | None:
    """The function that anndata reads a chunk with, anywhere in a dask task."""
    if isinstance(task, partial):
        return task if getattr(task.func, "__name__", "") == "make_dask_chunk" else None
    inside = task if isinstance(task, tuple | list) else [getattr(task, "value", None), *getattr(task, "args", ())]
    return next((found for part in inside if part is not None and (found := _find_reader(part)) is not None), None)

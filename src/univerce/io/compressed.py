"""The parts of a compressed sparse matrix, checked before compiled code follows them into memory."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

_NO_CHUNK = 2**64 - 1
_FIX = "The matrix is damaged: read or convert the data again."


def check_sparse(X: Any) -> None:
    """Raise ``ValueError`` if an entry of a sparse matrix in memory lies outside of it; scipy does not look."""
    if X.format in ("csr", "csc"):
        n_rows, n_cols = X.shape if X.format == "csr" else X.shape[::-1]
        check_pointers(X.indptr, n_rows, X.indices, X.data)
        check_indices(X.indices[: int(X.indptr[-1])], n_cols)
    elif X.format == "coo":
        for axis, indices in enumerate((X.row, X.col)):
            check_indices(indices, X.shape[axis])
    elif X.format == "bsr":
        X.check_format(full_check=True)


def check_pointers(indptr: np.ndarray, n: int, indices: Any, data: Any) -> None:
    """Raise ``ValueError`` unless ``indptr`` divides the stored entries among ``n`` rows (columns of CSC)."""
    for name, part in (("indptr", indptr), ("indices", indices)):
        if np.dtype(part.dtype).kind not in "iu" or len(part.shape) != 1:
            raise ValueError(f"{name} holds {part.dtype} {tuple(part.shape)}, not a list of integers. {_FIX}")
    n_stored = indices.shape[0]
    if len(indptr) != n + 1 or tuple(data.shape) != (n_stored,):
        raise ValueError(
            f"indptr has {len(indptr):,} values for {n:,} rows or columns, and there are {n_stored:,} indices and "
            f"values of the shape {tuple(data.shape)}. {_FIX}"
        )
    if len(falls := np.flatnonzero(indptr[1:] < indptr[:-1])):
        raise ValueError(f"indptr decreases after row or column {int(falls[0]):,}. {_FIX}")
    if indptr[0] != 0 or indptr[-1] > n_stored:
        raise ValueError(f"indptr leads from {indptr[0]} to {indptr[-1]} of {n_stored:,} entries. {_FIX}")


def open_parts(group: Any, n: int, n_indices: int) -> tuple[Any, Any, np.ndarray]:
    """Open ``data`` and ``indices`` on disk and read ``indptr`` of ``n`` rows (columns of CSC), checked.

    zarr and HDF5 read chunks that are missing as zeros, which would be counts that vanish.
    """
    data, indices, pointers = (group[name] for name in ("data", "indices", "indptr"))
    indptr = pointers[:]
    check_pointers(indptr, n, indices, data)
    if indptr[-1] != indices.shape[0]:
        raise ValueError(f"indptr ends at {indptr[-1]} of {indices.shape[0]:,} entries. {_FIX}")
    lost = {name: missing_chunks(part) for name, part in (("indices", indices), ("data", data))}
    if n and np.diff(indptr).max() > n_indices:  # otherwise they may be rows without counts
        lost["indptr"] = missing_chunks(pointers)
    for name, number in lost.items():
        if number:
            raise ValueError(
                f"{number:,} chunks of {name} are missing, or hold zeros only. {_FIX} If the matrix stores zeros, "
                "write it again after eliminate_zeros()."
            )
    return data, indices, indptr


def check_indices(indices: np.ndarray, n: int) -> None:
    """Raise ``ValueError`` if an index is not in ``[0, n)``."""
    if indices.shape[0] == 0:
        return
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= n:
        raise ValueError(f"The index {low if low < 0 else high} is outside the {n:,} rows or columns. {_FIX}")


def missing_chunks(array: Any) -> int:
    """Number of chunks, or of shards of chunks, of an array on disk that were never written."""
    if hasattr(array, "shards"):  # zarr
        if is_local(array):
            return _n_parts(array, array.shards or array.chunks) - len(_files(array))
        # releases differ in whether they count chunks or shards
        return int(array.nchunks - array.nchunks_initialized) if array.shards is None else 0
    if getattr(array, "chunks", None) is None or not hasattr(array, "id"):
        return 0
    return _n_parts(array, array.chunks) - int(array.id.get_num_chunks())


def _n_parts(array: Any, part: tuple[int, ...]) -> int:
    return math.prod(-(-size // length) for size, length in zip(array.shape, part, strict=True))


def is_local(node: Any) -> bool:
    """Whether a node of zarr is in a directory."""
    from zarr.storage import LocalStore

    return isinstance(getattr(node, "store", None), LocalStore)


def _files(array: Any) -> list[str]:
    """Files of the chunks of a local zarr array: their names are numbers between dots, and ``c`` of a single value."""
    return [
        f"{where}{os.sep}{name}"
        for where, _, names in os.walk(array.store.root / array.path)
        for name in names
        if name == "c" or name.replace(".", "").isdigit()
    ]


def path_of(X: Any) -> str | None:
    """The file of a matrix or of a backed AnnData; ``None`` in memory."""
    node = getattr(X, "group", X)
    for holder in (node, getattr(node, "file", None)):  # AnnData has both, None in memory
        if (name := getattr(holder, "filename", None)) is not None:
            return str(name)
    return str(node.store_path).removeprefix("file://") if hasattr(node, "store_path") else None


def check_chunks(node: Any) -> None:
    """Raise ``ValueError`` if a chunk of a zarr array, or of the arrays of a group, in a directory is cut off.

    numcodecs follows the size in the header of Blosc, which anndata writes by default, beyond the end of the chunk:
    what lies there in memory would be counts, or the process crashes.
    """
    if not is_local(node):
        return
    if not hasattr(node, "compressors"):
        for _, array in node.arrays():
            check_chunks(array)
    elif node.compressors and "Blosc" in type(node.compressors[-1]).__name__:
        for file in _files(node):
            _check_blosc(file, node)


def _check_blosc(file: str, array: Any) -> None:
    with open(file, "rb", buffering=0) as content:
        size = os.fstat(content.fileno()).st_size
        places = [[0, size]]
        if array.shards is not None:
            n, at_end = _index(array)
            content.seek(_begin(size, n) if at_end else 0)
            places = np.frombuffer(content.read(16 * n), "<u8").reshape(-1, 2).tolist()
        for start, length in places:
            if length == _NO_CHUNK:
                continue
            content.seek(min(start, size))
            stated = int.from_bytes(content.read(16)[12:], "little")
            if stated != length or start + length > size:
                raise ValueError(
                    f"{file} has a chunk of {length:,} bytes that states {stated:,}: it is cut off or damaged."
                )


def _index(array: Any) -> tuple[int, bool]:
    """Number of chunks in a shard, and whether the list of their places, with a checksum, is at its end."""
    location = array.metadata.codecs[0].index_location
    n = math.prod(s // c for s, c in zip(array.shards, array.chunks, strict=True))
    return n, getattr(location, "value", location) == "end"  # an enumeration before zarr 3.4


def _begin(size: int, n: int) -> int:
    return max(0, size - 16 * n - 4)


def chunk_reader(array: Any) -> Callable[[int], bytes | None]:
    """Return the function that reads a packed chunk of a list in a local zarr; ``None`` for one that a shard lacks."""
    directory, key = f"{array.store.root / array.path}{os.sep}", array.metadata.encode_chunk_key
    n, at_end = (1, False) if array.shards is None else _index(array)
    sharded = array.shards is not None

    def read(k: int) -> bytes | None:
        with open(directory + key((k // n,)), "rb", buffering=0) as content:
            if not sharded:
                return content.read()
            size = os.fstat(content.fileno()).st_size
            content.seek((_begin(size, n) if at_end else 0) + 16 * (k % n))
            start, length = struct.unpack("<QQ", content.read(16))
            if length == _NO_CHUNK:
                return None
            content.seek(start)
            return content.read(min(length, size))

    return read

"""Sparse matrices whose parts may lie: read as a slow loop reads them, or refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse as sp
import zarr
from hypothesis import strategies as st

from benchmarks.fuzz.target import Target

_CONTAINERS = ("csr", "csc", "h5 csr", "h5 csc", "zarr csr", "zarr csc", "dask csr")


@st.composite
def _parts(draw: st.DrawFn) -> tuple[str, int, int, list[int], list[int], list[int], str]:
    """Container, rows and columns of the major and minor axis, indptr, indices, data and the type of the indices."""
    n, m = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    lengths = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    indptr = [0, *np.cumsum(lengths).tolist()]
    indices = draw(st.lists(st.integers(0, m - 1), min_size=indptr[-1], max_size=indptr[-1]))
    data = draw(st.lists(st.integers(-3, 9), min_size=indptr[-1], max_size=indptr[-1]))
    for part in draw(st.lists(st.sampled_from((indptr, indices, data)), max_size=2)):  # what lies
        at = draw(st.integers(0, max(len(part) - 1, 0)))
        kind = draw(st.sampled_from(("value", "drop", "add")))
        wrong = draw(st.sampled_from((-1, -(2**31), 0, 1, 2, m, m + 1, 10**6, 2**31 - 1)))
        part[at : at + (kind != "add")] = [] if kind == "drop" else [wrong]
    return draw(st.sampled_from(_CONTAINERS)), n, m, indptr, indices, data, draw(st.sampled_from(("i4", "i8")))


def csr(directory: Path) -> Target:
    """CSR and CSC in memory, in HDF5, in zarr and in dask."""
    from univerce.io.blocks import iter_blocks

    def attempt(value: Any) -> bool:
        container, n, m, indptr, indices, data, dtype = value
        expected = _slow(n, m, indptr, indices, data, whole=container.startswith(("h5", "zarr")))
        if container.endswith("csc"):
            expected = None if expected is None else expected.T
        try:
            X = _made(container, n, m, *(np.array(part, dtype) for part in (indptr, indices)), np.array(data, "i8"))
            found = sp.vstack([block for _, block in iter_blocks(X, 2)]).toarray()
        except ValueError:
            if expected is not None:
                raise
            return False
        assert expected is not None, "read a matrix that is none"
        assert np.array_equal(found, expected)
        return True

    return Target(_parts(), attempt)


def _slow(n: int, m: int, indptr: list[int], indices: list[int], data: list[int], *, whole: bool) -> np.ndarray | None:
    """The dense matrix ``[n, m]``, entry by entry; ``None`` if there is none."""
    if len(indptr) != n + 1 or indptr[0] != 0 or any(b < a for a, b in pairwise(indptr)):
        return None
    if len(indices) != len(data) or indptr[-1] > len(data) or (whole and indptr[-1] != len(data)):
        return None
    out = np.zeros((n, m), np.int64)
    for row in range(n):
        for k in range(indptr[row], indptr[row + 1]):
            if not 0 <= indices[k] < m:
                return None
            out[row, indices[k]] += data[k]
    return out


def _made(container: str, n: int, m: int, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> Any:
    from anndata.io import sparse_dataset

    where, kind = container.split() if " " in container else ("memory", container)
    shape = (n, m) if kind == "csr" else (m, n)
    parts = {"indptr": indptr, "indices": indices, "data": data}
    if where in ("memory", "dask"):
        X = (sp.csr_matrix if kind == "csr" else sp.csc_matrix)(shape, dtype=np.int64)
        for name, part in parts.items():
            setattr(X, name, part)
        if where == "memory":
            return X
        import dask.array as da

        empty = sp.csr_matrix((0, 0), dtype=np.int64)
        return da.Array({("x", 0, 0): X}, "x", ((n,), (m,)), meta=empty)
    if where == "h5":
        group: Any = h5py.File("x.h5", "w", driver="core", backing_store=False).create_group("X")
    else:
        group = zarr.open_group(zarr.storage.MemoryStore(), mode="w", zarr_format=2).create_group("X")
    group.attrs.update({"encoding-type": f"{kind}_matrix", "encoding-version": "0.1.0", "shape": shape})
    for name, part in parts.items():
        if where == "h5":
            group.create_dataset(name, data=part)
        else:
            group.create_array(name, data=part, config={"write_empty_chunks": True})
    return sparse_dataset(group)

"""The row-block iterator against the dense matrix it walks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from anndata.abc import CSCDataset, CSRDataset
from anndata.io import sparse_dataset, write_elem

from univerce.io import blocks
from univerce.io.blocks import iter_blocks, n_blocks, n_rows, read_ahead
from univerce.io.pipeline import Stages

# numpy would rather not see np.matrix, but AnnData users still have it
pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")

N, M = 23, 11


def dense(dtype: Any = np.int32) -> np.ndarray:
    rng = np.random.default_rng(0)
    X = rng.poisson(0.6, (N, M))
    X[[0, 7, 8, 9, N - 1]] = 0  # empty rows, at both ends and across a block edge
    X[:, 3] = 0
    return X.astype(dtype)


def h5_elem(tmp_path: Path, value: Any) -> Any:
    file = h5py.File(tmp_path / "x.h5", "w")
    write_elem(file, "X", value)
    return file["X"] if isinstance(file["X"], h5py.Dataset) else sparse_dataset(file["X"])


def zarr_elem(tmp_path: Path, value: Any) -> Any:
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=2)
    write_elem(group, "X", value)
    return group["X"] if isinstance(group["X"], zarr.Array) else sparse_dataset(group["X"])


def memmap(tmp_path: Path, X: np.ndarray) -> np.memmap:
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def sparse_chunks(X: np.ndarray, make: Callable[[np.ndarray], Any], chunks: tuple[int, int]) -> da.Array:
    return da.from_array(X, chunks=chunks).map_blocks(make, dtype=X.dtype, meta=make(np.zeros((0, 0), X.dtype)))


def backed(tmp_path: Path, X: Any) -> ad.AnnData:
    ad.AnnData(X).write_h5ad(tmp_path / "x.h5ad")
    return ad.read_h5ad(tmp_path / "x.h5ad", backed="r")


def unsorted_with_duplicates(X: np.ndarray) -> sp.csr_matrix:
    """Every row backwards, its values split in two entries, and a stored zero at its end."""
    indptr, indices, data = [0], [], []
    for row in X:
        columns = np.flatnonzero(row)[::-1]
        for column in columns:
            indices += [column, column]
            data += [row[column] - 1, 1]
        indices.append(0)
        data.append(0)
        indptr.append(len(data))
    return sp.csr_matrix((np.array(data, X.dtype), np.array(indices), np.array(indptr)), shape=X.shape)


CONTAINERS: dict[str, Callable[[Path, np.ndarray], Any]] = {
    "numpy array": lambda _, X: X,
    "numpy array in Fortran order": lambda _, X: np.asfortranarray(X),
    "numpy matrix": lambda _, X: np.matrix(X),
    "memory map": memmap,
    "csr_matrix": lambda _, X: sp.csr_matrix(X),
    "csr_array": lambda _, X: sp.csr_array(X),
    "csr_matrix with int64 indices": lambda _, X: int64_indices(X),
    "csr_matrix with unsorted split entries": lambda _, X: unsorted_with_duplicates(X),
    "csc_matrix": lambda _, X: sp.csc_matrix(X),
    "csc_array": lambda _, X: sp.csc_array(X),
    "coo_matrix": lambda _, X: sp.coo_matrix(X),
    "lil_array": lambda _, X: sp.lil_array(X),
    "h5py array": h5_elem,
    "zarr array": zarr_elem,
    "csr in h5": lambda p, X: h5_elem(p, sp.csr_matrix(X)),
    "csr with unsorted split entries in h5": lambda p, X: h5_elem(p, unsorted_with_duplicates(X)),
    "csc in h5": lambda p, X: h5_elem(p, sp.csc_matrix(X)),
    "csr in zarr": lambda p, X: zarr_elem(p, sp.csr_matrix(X)),
    "csc in zarr": lambda p, X: zarr_elem(p, sp.csc_matrix(X)),
    "dask array with dense chunks": lambda _, X: da.from_array(X, chunks=(5, M)),
    "dask array chunked by columns too": lambda _, X: da.from_array(X, chunks=(7, 4)),
    "dask array with csr_matrix chunks": lambda _, X: sparse_chunks(X, sp.csr_matrix, (6, M)),
    "dask array with csr_array chunks by columns": lambda _, X: sparse_chunks(X, sp.csr_array, (6, 5)),
    "dask array with csc chunks": lambda _, X: sparse_chunks(X, sp.csc_matrix, (9, M)),
    "AnnData": lambda _, X: ad.AnnData(sp.csr_matrix(X)),
    "backed AnnData with csr": lambda p, X: backed(p, sp.csr_matrix(X)),
    "backed AnnData with dense X": backed,
}


def int64_indices(X: np.ndarray) -> sp.csr_matrix:
    csr = sp.csr_matrix(X)
    csr.indices, csr.indptr = csr.indices.astype(np.int64), csr.indptr.astype(np.int64)
    return csr


def check(X: Any, oracle: np.ndarray, block_rows: int, **kwargs: Any) -> None:
    """Every block equals its rows of ``oracle`` and is canonical; the blocks cover the rows once."""
    seen = []
    for rows, block in iter_blocks(X, block_rows, **kwargs):
        assert isinstance(block, sp.csr_matrix)
        np.testing.assert_array_equal(block.toarray(), oracle[rows])
        assert block.dtype == oracle.dtype
        assert block.nnz == np.count_nonzero(oracle[rows]), "split entries or stored zeros were left"
        assert block.has_canonical_format
        seen += range(rows.start, rows.stop)
    assert seen == list(range(len(oracle)))


@pytest.mark.parametrize("make", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_every_container_gives_the_dense_rows(tmp_path: Path, make: Any) -> None:
    X = make(tmp_path, dense())
    for block_rows in (1, 5, N, 1000):
        check(X, dense(), block_rows)
    parts = [(rows.start, rows.stop, block.toarray()) for rows, block in iter_blocks(X, 5, start=3, stop=17)]
    assert [part[:2] for part in parts] == [(3, 5), (5, 10), (10, 15), (15, 17)], "the grid stays"
    np.testing.assert_array_equal(np.vstack([part[2] for part in parts]), dense()[3:17])
    chosen = list(iter_blocks(X, 5, blocks=[4, 0, 2]))
    assert [(rows.start, rows.stop) for rows, _ in chosen] == [(20, 23), (0, 5), (10, 15)]
    for rows, block in chosen:
        np.testing.assert_array_equal(block.toarray(), dense()[rows])
    (tmp_path / "zeros").mkdir()
    check(make(tmp_path / "zeros", np.zeros((1, M), np.int32)), np.zeros((1, M), np.int32), 4)


@pytest.mark.parametrize("name", ["numpy array", "csr_matrix", "csr in h5", "csc in h5", "dask array with csc chunks"])
def test_the_dtype_passes_through_and_half_precision_becomes_float32(tmp_path: Path, name: str) -> None:
    for dtype in (np.bool_, np.uint8, np.int64, np.float32, np.float64):
        (tmp_path / dtype.__name__).mkdir()
        check(CONTAINERS[name](tmp_path / dtype.__name__, dense(dtype)), dense(dtype), 4)
    if name == "numpy array":
        check(dense(np.float16), dense(np.float32), 4)
        check(h5_elem(tmp_path, dense(np.float16)), dense(np.float32), 4)


def test_no_rows_give_no_blocks() -> None:
    assert list(iter_blocks(np.zeros((0, 3)), 4)) == []
    assert n_blocks(0, 4) == 0


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csc_matrix, np.asarray], ids=["csr", "csc", "dense"])
def test_a_view_gives_its_rows_and_columns(tmp_path: Path, make: Any) -> None:
    memory, file = ad.AnnData(make(dense())), backed(tmp_path, make(dense()))
    for rows, columns in (
        (slice(2, 19, 3), slice(None)),
        (np.random.default_rng(1).permutation(N)[:15], slice(None)),
        (np.arange(N) % 3 > 0, np.array([8, 2, 5])),
    ):
        expected = dense()[rows][:, columns]
        check(memory[rows, columns], expected, 4)
        check(memory[rows, columns].X, expected, 4)
        check(file[rows, columns], expected, 4)
    check(memory[::2][[5, 1, 7]], dense()[::2][[5, 1, 7]], 2)


def test_backed_csc_is_read_in_groups_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X = h5_elem(tmp_path, sp.csc_matrix(dense()))
    for budget, read in ((1, 1), (1, 10_000), (7, 5), (40, 1), (40, 5), (10_000, 10_000)):
        monkeypatch.setattr(blocks, "CSC_BUDGET", budget)
        monkeypatch.setattr(blocks, "CSC_READ", read)
        check(X, dense(), 2)
        for rows, block in iter_blocks(X, 2, blocks=[9, 1, 8]):
            np.testing.assert_array_equal(block.toarray(), dense()[rows])


class Counting:
    """An array on disk that remembers the longest and the total read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.longest, self.total = values, 0, 0
        self.shape, self.dtype, self.chunks = values.shape, values.dtype, values.shape

    def __getitem__(self, part: slice) -> np.ndarray:
        out = self.values[part]
        self.longest, self.total = max(self.longest, len(out)), self.total + len(out)
        return out


def counting_dataset(base: Any, X: Any) -> Any:
    class Dataset(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.shape, self.dtype = X.shape, X.dtype
            self.group = {name: Counting(getattr(X, name)) for name in ("data", "indices", "indptr")}

        def __getitem__(self, index: Any) -> Any:
            raise NotImplementedError

        def to_memory(self) -> Any:
            raise NotImplementedError

    return Dataset()


def test_backed_csr_reads_every_entry_once_and_one_block_at_a_time() -> None:
    csr = sp.csr_matrix(dense())
    X = counting_dataset(CSRDataset, csr)
    check(X, dense(), 5)
    most = max(csr[first : first + 5].nnz for first in range(0, N, 5))
    for name in ("data", "indices"):
        assert X.group[name].longest == most
        assert X.group[name].total == csr.nnz


@pytest.mark.parametrize("budget", [1, 60, 10**6])
@pytest.mark.parametrize("block_rows", [1, 4, 50])
def test_reading_ahead_gives_the_same_blocks(budget, block_rows, monkeypatch) -> None:
    monkeypatch.setattr(blocks, "CSR_READ", budget)
    csr, stages = sp.csr_matrix(dense()), Stages("read")
    for X in (counting_dataset(CSRDataset, csr), csr, counting_dataset(CSRDataset, unsorted_with_duplicates(dense()))):
        for chosen in (None, [k for k in (0, 1, 3, 4, 5) if k < n_blocks(N, block_rows)]):
            expected = list(iter_blocks(csr, block_rows, blocks=chosen))
            found = list(read_ahead(X, block_rows, blocks=chosen, stages=stages))
            assert [rows for rows, _ in found] == [rows for rows, _ in expected]
            for (_, mine), (_, theirs) in zip(found, expected, strict=True):
                mine.check_format(full_check=True)
                np.testing.assert_array_equal(mine.toarray(), theirs.toarray())
                assert mine.has_canonical_format
    assert stages.seconds["read"] > 0


def test_reading_ahead_reads_as_many_blocks_at_once_as_its_budget_holds(monkeypatch) -> None:
    csr = sp.csr_matrix(np.ones((40, M), np.int32))
    monkeypatch.setattr(blocks, "CSR_READ", 12 * M)
    X = counting_dataset(CSRDataset, csr)
    assert len(list(read_ahead(X, 5))) == 8
    assert X.group["data"].longest == 10 * M
    assert X.group["data"].total == csr.nnz


def test_backed_csc_never_holds_more_than_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    csc = sp.csc_matrix(np.ones((20, M), np.int32))
    monkeypatch.setattr(blocks, "CSC_BUDGET", 8 * M)
    monkeypatch.setattr(blocks, "CSC_READ", 10)
    X = counting_dataset(CSCDataset, csc)
    check(X, csc.toarray(), 2)
    assert X.group["data"].longest == 10
    assert X.group["data"].total == 3 * csc.nnz, "20 rows in groups of 8 need three passes"


def test_dense_rows_on_disk_are_read_a_block_at_a_time() -> None:
    class Logged(np.ndarray):
        longest = 0

        def __getitem__(self, part: Any) -> Any:
            out = super().__getitem__(part)
            Logged.longest = max(Logged.longest, len(out) if np.ndim(out) == 2 else 0)
            return out

    check(dense().view(Logged), dense(), 6)
    assert Logged.longest == 6


def test_a_dask_chunk_is_computed_once() -> None:
    computed: list[int] = []

    def chunk(block: np.ndarray) -> np.ndarray:
        computed.append(len(block))
        return block

    X = da.from_array(dense(), chunks=(10, M)).map_blocks(chunk, dtype=np.int32, meta=np.zeros((0, 0), np.int32))
    check(X, dense(), 3)
    assert computed == [10, 10, 3]


def test_a_matrix_in_memory_is_left_alone() -> None:
    messy = unsorted_with_duplicates(dense())
    before = messy.data.copy(), messy.indices.copy(), messy.indptr.copy()
    check(messy, dense(), 4)
    for old, new in zip(before, (messy.data, messy.indices, messy.indptr), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_cannot_be_read_is_named() -> None:
    for X, name in (
        (pd.DataFrame({"a": [1]}), "DataFrame"),
        ([[1, 2]], "list"),
        (None, "NoneType"),
        (np.ma.masked_array([[1, 2]], [[True, False]]), "masked array"),
        (np.array([["a"]]), "<U1"),
        (np.array([[1j]]), "complex128"),
    ):
        with pytest.raises(TypeError, match=name):
            list(iter_blocks(X, 2))


def test_rows_that_do_not_exist_are_refused_before_the_first_block() -> None:
    for options, message in (
        ({"block_rows": 0}, "block_rows=0"),
        ({"block_rows": 4, "start": -1}, r"\[-1, 23\)"),
        ({"block_rows": 4, "stop": 24}, r"\[0, 24\)"),
        ({"block_rows": 4, "blocks": [5, 6]}, r"6 blocks; blocks=\[6\]"),
    ):
        with pytest.raises(ValueError, match=message):
            iter_blocks(dense(), **options)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="two dimensions"):
        n_rows(np.zeros(3))
    with pytest.raises(ValueError, match="no X"):
        list(iter_blocks(ad.AnnData(obs=pd.DataFrame(index=["a"])), 2))
    X = da.from_array(dense(), chunks=(5, M))
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        n_rows(X[X[:, 0] > 0])

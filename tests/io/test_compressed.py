"""Sparse matrices whose parts do not fit: refused before compiled code reads or writes outside of memory."""

from __future__ import annotations

import dask.array as da
import h5py
import numcodecs
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from anndata.io import sparse_dataset, write_elem

import univerce as uc
from univerce.io.blocks import iter_blocks
from univerce.io.compressed import check_chunks

N, M = 6, 5
WRONG = {  # of a matrix whose rows hold 2 entries each
    "index too large": ("indices", 3, M, "The index 5 is outside the 5"),
    "index far outside": ("indices", 3, 2**30, "The index 1073741824 is outside"),
    "negative index": ("indices", 3, -1, "The index -1 is outside"),
    "indptr decreases": ("indptr", 2, 12, "indptr decreases after row or column 2"),
    "indptr ends too late": ("indptr", N, 400, "indptr leads from 0 to 400 of 12 entries"),
    "indptr begins late": ("indptr", 0, 1, "indptr leads from 1 to 12"),
    "indptr is short": ("indptr", slice(0, N), None, "indptr has 6 values for 6 rows"),
    "data are short": ("data", slice(0, 5), None, "12 indices and values of the shape"),
    "indices are numbers": ("indices", ..., 0.5, "indices holds float64"),
}


def parts(wrong: str) -> dict[str, np.ndarray]:
    """The parts of a matrix ``[6, 5]``, one of them wrong."""
    name, where, value, _ = WRONG[wrong]
    found = {"data": np.arange(1, 13), "indices": np.tile([0, 3], N), "indptr": np.arange(0, 2 * N + 1, 2)}
    if value is None:
        found[name] = found[name][where]
    else:
        found[name] = found[name].astype(type(value))
        found[name][where] = value
    return found


def in_memory(kind, given, _):
    X = kind((N, M) if kind is not sp.csc_matrix else (M, N), dtype=np.int64)
    for name, value in given.items():
        setattr(X, name, value)
    return X


def in_dask(given, _):
    return da.Array({("x", 0, 0): in_memory(sp.csr_matrix, given, _)}, "x", ((N,), (M,)), meta=sp.csr_matrix((0, 0)))


def on_disk(kind, make, given, tmp_path):
    group = make(tmp_path / "x")
    shape = (N, M) if kind == "csr" else (M, N)
    group.attrs.update({"encoding-type": f"{kind}_matrix", "encoding-version": "0.1.0", "shape": shape})
    for name, value in given.items():
        group[name] = value
    return sparse_dataset(group)


def h5(path):
    return h5py.File(path, "w").create_group("X")


def zarr_group(path):
    return zarr.open_group(path, mode="w", zarr_format=2)


CONTAINERS = {
    "csr": lambda *a: in_memory(sp.csr_matrix, *a),
    "csc": lambda *a: in_memory(sp.csc_matrix, *a),
    "csr in dask": in_dask,
    "csr in HDF5": lambda *a: on_disk("csr", h5, *a),
    "csc in HDF5": lambda *a: on_disk("csc", h5, *a),
    "csr in zarr": lambda *a: on_disk("csr", zarr_group, *a),
    "csc in zarr": lambda *a: on_disk("csc", zarr_group, *a),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_a_matrix_that_is_none_is_refused(tmp_path, container, wrong):
    if (container, wrong) == ("csr in dask", "indices are numbers"):
        pytest.skip("dask copies a block, and scipy then makes them integers")
    message = None if container == "csr in dask" else WRONG[wrong][3]  # scipy may notice as dask copies
    with pytest.raises(ValueError, match=message) as caught:
        for _ in iter_blocks(CONTAINERS[container](parts(wrong), tmp_path), 4):
            pass
    if container.endswith(("HDF5", "zarr")):
        assert isinstance(caught.value, uc.FileError)
        assert str(tmp_path / "x") in str(caught.value)


@pytest.mark.parametrize("axis", [0, 1])
def test_coordinates_outside_are_refused(axis):
    X = sp.coo_matrix(np.eye(4, dtype=int))
    X.coords[axis][2] = 9
    with pytest.raises(ValueError, match="The index 9 is outside the 4"):
        list(iter_blocks(X, 2))


def test_chunks_that_are_missing_are_not_zeros(tmp_path):
    X = sp.csr_matrix(np.arange(1, 2001).reshape(40, 50))
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=2)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": X.shape})
    for name in ("data", "indices", "indptr"):
        group.create_array(name, data=getattr(X, name), chunks=(100,))
    assert sum(block.sum() for _, block in iter_blocks(sparse_dataset(group), 7)) == X.sum()
    (tmp_path / "x.zarr/data/7").unlink()
    with pytest.raises(uc.FileError, match="1 chunks of data are missing"):
        next(iter_blocks(sparse_dataset(group), 7))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": X.shape})
        group["indptr"], group["indices"] = X.indptr, X.indices
        data = group.create_dataset("data", shape=X.data.shape, chunks=(100,), dtype="i8")
        data[:1900] = X.data[:1900]
        with pytest.raises(uc.FileError, match="1 chunks of data are missing"):
            next(iter_blocks(sparse_dataset(group), 7))


@pytest.mark.parametrize("index", ["start", "end"])
def test_shards_are_read_and_a_lost_or_damaged_one_is_refused(tmp_path, index):
    X = sp.csr_matrix(np.arange(1, 2006) * (np.arange(2005) % 3 > 0)).reshape(5, 401).tocsr()
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=3)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": X.shape})
    for name in ("data", "indices", "indptr"):  # the last shard is not full
        values = getattr(X, name)
        shards = {"shape": (100,), "index_location": index}
        array = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(10,), shards=shards,
            compressors=zarr.codecs.BloscCodec(),
        )  # fmt: skip
        array[:] = values
    assert group["data"].shards == (100,)
    read = sparse_dataset(group)
    assert (sp.vstack([block for _, block in iter_blocks(read, 2)]) != X).nnz == 0
    shard = tmp_path / "x.zarr/data/c/3"
    whole = shard.read_bytes()
    places = np.frombuffer(whole[:160] if index == "start" else whole[-164:-4], "<u8").reshape(-1, 2)
    header = int(places[4, 0]) + 12  # size of the fifth chunk, as Blosc states it
    for damaged in (whole[:-5], whole[:header] + b"\xff\xff" + whole[header + 2 :]):
        shard.write_bytes(damaged)
        with pytest.raises(uc.FileError, match=r"x\.zarr.*(cut off or damaged|reshape|buffer)"):
            iter_blocks(read, 2)
    shard.unlink()
    with pytest.raises(uc.FileError, match="1 chunks of data are missing"):
        iter_blocks(read, 2)


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("sparse", [True, False], ids=["csr", "dense"])
def test_a_chunk_that_is_cut_off_is_refused_before_it_is_unpacked(tmp_path, form, sparse):
    X = np.random.default_rng(0).poisson(1, (500, 40)).astype("f4")
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=form)
    blosc = zarr.codecs.BloscCodec() if form == 3 else numcodecs.Blosc()
    write_elem(group, "X", sp.csr_matrix(X) if sparse else X, dataset_kwargs={"compressors": [blosc], "shards": None})
    read = sparse_dataset(group["X"]) if sparse else group["X"]
    assert sum(block.sum() for _, block in iter_blocks(read, 100)) == X.sum()
    files = [f for f in (tmp_path / "x.zarr/X").rglob("*") if f.is_file() and f.name[0] != "." and f.suffix != ".json"]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-5])
    with pytest.raises(uc.FileError, match="it is cut off or damaged"):
        iter_blocks(read, 100)


def test_a_single_value_that_is_cut_off_is_refused(tmp_path):
    array = zarr.create_array(tmp_path / "x.zarr", shape=(), dtype="f8", compressors=zarr.codecs.BloscCodec())
    array[...] = 1.5
    check_chunks(array)
    chunk = tmp_path / "x.zarr/c"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(ValueError, match="cut off or damaged"):
        check_chunks(array)

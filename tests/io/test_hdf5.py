"""Chunks unpacked in threads, against HDF5 itself."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from h5py._objects import phil

from univerce.io import hdf5
from univerce.io.hdf5 import read_span

FILTERS = {
    "gzip": {"compression": "gzip"},
    "gzip after shuffle": {"compression": "gzip", "shuffle": True},
    "gzip with a checksum, left to HDF5": {"compression": "gzip", "fletcher32": True},
    "lzf, left to HDF5": {"compression": "lzf"},
    "none": {},
}


@pytest.fixture(params=["zlib", "isal.isal_zlib"], autouse=True)
def unpacked_by(request, monkeypatch):
    if request.param != "zlib":
        pytest.importorskip("isal", reason="needs the extra gzip")
    monkeypatch.setattr(hdf5, "zlib", importlib.import_module(request.param))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, ">i4"])
@pytest.mark.parametrize("options", FILTERS.values(), ids=FILTERS)
def test_spans_are_those_of_hdf5(tmp_path, options, dtype, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    values = np.random.default_rng(0).integers(1000, size=1003).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", data=values, chunks=(100,), **options)
        for begin, end in ((0, 1003), (0, 1), (99, 101), (250, 950), (1000, 1003), (5, 5)):
            found = read_span(array, begin, end)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, values[begin:end])


def test_hdf5_is_called_by_one_thread_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", data=np.arange(1000), chunks=(100,), compression="gzip")
        locked = []

        def read(chunk):
            locked.append(phil._is_owned())
            return array.id.read_direct_chunk(chunk)

        watched = SimpleNamespace(get_create_plist=array.id.get_create_plist, read_direct_chunk=read)
        found = read_span(SimpleNamespace(id=watched, chunks=array.chunks, dtype=array.dtype), 0, 1000)
    np.testing.assert_array_equal(found, np.arange(1000))
    assert locked == [True] * 10


def test_a_chunk_that_skipped_the_filter_is_read(tmp_path):
    values = np.arange(200, dtype=np.int32)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", shape=(200,), dtype=np.int32, chunks=(100,), compression="gzip")
        array[:100] = values[:100]
        array.id.write_direct_chunk((100,), values[100:].tobytes(), filter_mask=1)
        np.testing.assert_array_equal(read_span(array, 50, 150), values[50:150])


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])])
def test_a_damaged_chunk_is_an_error(tmp_path, damage):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", data=np.arange(1000) % 37, chunks=(1000,), compression="gzip")
        raw = array.id.read_direct_chunk((0,))[1]
        array.id.write_direct_chunk((0,), damage(raw))
        with pytest.raises(ValueError, match="The chunk of /x at 0 is cut off or damaged"):
            read_span(array, 0, 1000)

"""Chunks unpacked in threads, against HDF5 and zarr themselves."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import h5py
import numcodecs
import numpy as np
import pytest
import zarr
from h5py._objects import phil
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ZstdCodec

from univerce.io import chunks
from univerce.io.chunks import span_reader

FILTERS = {
    "gzip": {"compression": "gzip"},
    "gzip after shuffle": {"compression": "gzip", "shuffle": True},
    "gzip with a checksum, left to HDF5": {"compression": "gzip", "fletcher32": True},
    "lzf, left to HDF5": {"compression": "lzf"},
    "none": {},
}


@pytest.fixture(params=["zlib", "isal.isal_zlib"])
def unpacked_by(request, monkeypatch):
    if request.param != "zlib":
        pytest.importorskip("isal", reason="needs the extra gzip")
    monkeypatch.setattr(chunks, "zlib", importlib.import_module(request.param))


@pytest.mark.usefixtures("unpacked_by")
@pytest.mark.parametrize("dtype", [np.float32, np.int64, ">i4"])
@pytest.mark.parametrize("options", FILTERS.values(), ids=FILTERS)
def test_spans_are_those_of_hdf5(tmp_path, options, dtype, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    values = np.random.default_rng(0).integers(1000, size=1003).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", data=values, chunks=(100,), **options)
        read = span_reader(array)
        for begin, end in ((0, 1003), (0, 1), (99, 101), (250, 950), (1000, 1003), (5, 5)):
            (found,) = read(begin, end)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, values[begin:end])


@pytest.mark.usefixtures("unpacked_by")
def test_hdf5_is_called_by_one_thread_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", data=np.arange(1000), chunks=(100,), compression="gzip")
        locked = []

        def read(chunk):
            locked.append(phil._is_owned())
            return array.id.read_direct_chunk(chunk)

        watched = SimpleNamespace(get_create_plist=array.id.get_create_plist, read_direct_chunk=read)
        monkeypatch.setattr(chunks, "library", lambda _: "h5py")
        (found,) = span_reader(SimpleNamespace(id=watched, chunks=array.chunks, dtype=array.dtype))(0, 1000)
    np.testing.assert_array_equal(found, np.arange(1000))
    assert locked == [True] * 10


@pytest.mark.usefixtures("unpacked_by")
def test_a_chunk_that_skipped_the_filter_is_read(tmp_path):
    values = np.arange(200, dtype=np.int32)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", shape=(200,), dtype=np.int32, chunks=(100,), compression="gzip")
        array[:100] = values[:100]
        array.id.write_direct_chunk((100,), values[100:].tobytes(), filter_mask=1)
        np.testing.assert_array_equal(span_reader(array)(50, 150)[0], values[50:150])


@pytest.mark.usefixtures("unpacked_by")
@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])])
def test_a_damaged_chunk_is_an_error(tmp_path, damage):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        array = file.create_dataset("x", data=np.arange(1000) % 37, chunks=(1000,), compression="gzip")
        raw = array.id.read_direct_chunk((0,))[1]
        array.id.write_direct_chunk((0,), damage(raw))
        with pytest.raises(ValueError, match="The chunk of /x at 0 is cut off or damaged"):
            span_reader(array)(0, 1000)


SHARDS = {"shape": (500,), "index_location": "start"}
ARRAYS = {  # and whether their chunks are unpacked here
    "format 2, Blosc": ({"zarr_format": 2, "compressors": numcodecs.Blosc()}, True),
    "format 2, Blosc of several blocks": ({"zarr_format": 2, "compressors": numcodecs.Blosc(blocksize=64)}, True),
    "format 2, Zstandard": ({"zarr_format": 2, "compressors": numcodecs.Zstd()}, True),
    "format 2, a filter, left to zarr": ({"zarr_format": 2, "filters": [numcodecs.Delta(dtype="<i8")]}, False),
    "format 2, not packed, left to zarr": ({"zarr_format": 2, "compressors": None}, False),
    "format 3, Blosc": ({"compressors": BloscCodec()}, True),
    "format 3, Zstandard": ({"compressors": ZstdCodec()}, True),
    "format 3, named as in format 2": ({"chunk_key_encoding": {"name": "v2"}}, True),
    "format 3, gzip, left to zarr": ({"compressors": GzipCodec()}, False),
    "format 3, two codecs, left to zarr": ({"compressors": [ZstdCodec(), GzipCodec()]}, False),
    "format 3, big endian, left to zarr": ({"serializer": BytesCodec(endian="big")}, False),
    "shards": ({"shards": (500,)}, True),
    "shards, Blosc, listed at the start": ({"shards": SHARDS, "compressors": BloscCodec()}, True),
}


@pytest.mark.parametrize(("n_threads", "dtype"), [("1", np.int8), ("2", np.int64), ("2", ">f4")])
@pytest.mark.parametrize(("options", "here"), ARRAYS.values(), ids=ARRAYS)
def test_spans_are_those_of_zarr(tmp_path, options, here, dtype, n_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
    values = np.random.default_rng(0).integers(-500, 500, size=1003).astype(dtype)
    if "filters" in options or "serializer" in options:
        values = values.astype(np.int64)
    values[600:700] = 5 if "shards" not in options else 0  # which a shard does not hold
    values[:100] = -1
    array = zarr.create_array(tmp_path, shape=values.shape, dtype=values.dtype, chunks=(100,), **options)
    array[:] = values  # zarr 3.1.0 loses chunks of shards from data=
    assert (chunks._of_zarr(array) is not None) is (here and dtype != ">f4")
    read = span_reader(array, values)
    for begin, end in ((0, 1003), (0, 1), (99, 101), (250, 620), (620, 950), (1000, 1003), (5, 5)):
        found, same = read(begin, end)
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, same)


def test_a_chunk_that_two_spans_share_is_unpacked_once(tmp_path, monkeypatch):
    array = zarr.create_array(tmp_path, data=np.arange(1003), chunks=(100,))
    unpacked, of_zarr = [], chunks._of_zarr

    def watched(array):
        unpack = of_zarr(array)
        return lambda first, out: (unpacked.append(first), unpack(first, out))

    monkeypatch.setattr(chunks, "_of_zarr", watched)
    read = span_reader(array)
    for begin in range(0, 1003, 17):
        (found,) = read(begin, min(begin + 17, 1003))
        np.testing.assert_array_equal(found, np.arange(begin, min(begin + 17, 1003)))
    assert unpacked == list(range(0, 1003, 100))


DAMAGE = {
    "cut off": lambda raw: raw[: len(raw) // 2],
    "empty": lambda raw: b"",
    "of a smaller chunk": lambda raw: numcodecs.Zstd().encode(np.arange(99)),
    "of a chunk that is a byte short": lambda raw: numcodecs.Zstd().encode(np.arange(100).tobytes()[:-1]),
    "of a larger chunk": lambda raw: numcodecs.Zstd().encode(np.arange(101)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("span", [(0, 1000), (420, 430)])
def test_a_damaged_chunk_of_zarr_is_an_error(tmp_path, damage, span):
    array = zarr.create_array(tmp_path, data=np.arange(1000), chunks=(100,), compressors=ZstdCodec())
    chunk = tmp_path / "c/4"
    chunk.write_bytes(damage(chunk.read_bytes()))
    with pytest.raises(ValueError, match=r"The chunk of .* at 400 is cut off or damaged"):
        span_reader(array)(*span)

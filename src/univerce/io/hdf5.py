"""Lists in HDF5 whose chunks are unpacked in threads; HDF5 itself unpacks one after the other."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np

from univerce.io.pipeline import n_threads


def _find_zlib() -> Any:
    with suppress(ImportError):
        return importlib.import_module("isal.isal_zlib")  # unpacks two to three times as fast
    return importlib.import_module("zlib")


zlib = _find_zlib()


def read_span(array: Any, begin: int, end: int) -> np.ndarray:
    """Read ``array[begin:end]`` of an ``h5py.Dataset`` of one dimension; ``ValueError`` if a chunk is damaged."""
    from h5py import h5z
    from h5py._objects import phil

    plist = array.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    shuffled = filters == [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE]
    if filters != [h5z.FILTER_DEFLATE] and not shuffled:
        return np.asarray(array[begin:end])
    size, dtype = array.chunks[0], array.dtype
    out = np.empty(end - begin, dtype=dtype)

    def unpack(chunks: range) -> None:
        for first in chunks:
            low, high = max(begin, first), min(end, first + size)
            with phil:  # HDF5 is not thread-safe; unlike other functions, this one does not take h5py's lock
                skipped, raw = array.id.read_direct_chunk((first,))
            if skipped:  # filters that this chunk did not pass
                values = array[low:high]
            else:
                unpacked = _inflate(raw, size * dtype.itemsize)
                if unpacked is None:
                    raise ValueError(f"The chunk of {array.name} at {first:,} is cut off or damaged.")
                if shuffled:
                    unpacked = np.frombuffer(unpacked, np.uint8).reshape(dtype.itemsize, size).T.tobytes()
                values = np.frombuffer(unpacked, dtype)[low - first : high - first]
            out[low - begin : high - begin] = values

    chunks, n = range(begin // size * size, end, size), n_threads()
    with ThreadPoolExecutor(n) as pool:
        list(pool.map(unpack, [chunks[i::n] for i in range(n)]))
    return out


def _inflate(raw: bytes, size: int) -> bytes | None:
    """The ``size`` bytes that were packed; ``None`` if they are damaged, or not as many."""
    packed = zlib.decompressobj()
    try:
        unpacked = packed.decompress(raw, size + 1)  # one more, so that the checksum at the end is compared
    except zlib.error:
        return None
    return unpacked if packed.eof and len(unpacked) == size else None

"""Lists on disk whose chunks are unpacked in threads, straight into the result.

HDF5 itself unpacks one chunk after the other, and zarr takes longer to schedule a small chunk than to unpack it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Self

import numpy as np

from univerce.io.compressed import chunk_reader, is_local
from univerce.io.ondisk import library
from univerce.io.pipeline import n_threads

Unpack = Callable[[int, np.ndarray], None]
"""Unpack the whole chunk that begins at an entry into an array."""
_LITTLE_ENDIAN: tuple[dict[str, Any], ...] = (
    {},
    {"name": "bytes"},
    {"name": "bytes", "configuration": {"endian": "little"}},
)


def _find_zlib() -> Any:
    with suppress(ImportError):
        return importlib.import_module("isal.isal_zlib")  # unpacks two to three times as fast
    return importlib.import_module("zlib")


zlib = _find_zlib()


def span_reader(*arrays: Any) -> Callable[[int, int], list[np.ndarray]]:
    """Open arrays of one dimension, in memory or on disk, and return the function that reads ``[begin:end]`` of each.

    It raises ``ValueError`` if a chunk is damaged.
    """
    opened = [_Chunks.open(array) for array in arrays]

    def read(begin: int, end: int) -> list[np.ndarray]:
        spans = [
            array[begin:end] if chunks is None else np.empty(end - begin, array.dtype)
            for array, chunks in zip(arrays, opened, strict=True)
        ]
        work = [
            partial(chunks.copy, first, begin, span)
            for chunks, span in zip(opened, spans, strict=True)
            if chunks is not None
            for first in range(begin // chunks.size * chunks.size, end, chunks.size)
        ]
        n = min(n_threads(), len(work))
        if n:
            with ThreadPoolExecutor(n) as pool:  # few tasks, because one takes as long as a small chunk
                list(pool.map(_do_all, [work[i::n] for i in range(n)]))
        return spans

    return read


def _do_all(work: list[Callable[[], None]]) -> None:
    for one in work:
        one()


class _Chunks:
    """The chunks of a list on disk."""

    def __init__(self, size: int, unpack: Unpack) -> None:
        self.size, self.unpack = size, unpack
        self._last: tuple[int, Any] = (-1, None)  # the next span begins in it

    @classmethod
    def open(cls, array: Any) -> Self | None:
        """``None`` if the array is in memory, or is left to its library."""
        unpacker = {"h5py": _of_hdf5, "zarr": _of_zarr}.get(library(array) or "")
        unpack = None if unpacker is None else unpacker(array)
        return None if unpack is None else cls(array.chunks[0], unpack)

    def copy(self, first: int, begin: int, out: np.ndarray) -> None:
        """Copy to ``out``, the entries from ``begin`` on, those of the chunk that begins at ``first``."""
        low, high = max(begin, first), min(begin + len(out), first + self.size)
        place, chunk = out[low - begin : high - begin], self._last
        if len(place) == self.size:
            self.unpack(first, place)
            return
        if chunk[0] != first:
            chunk = first, np.empty(self.size, out.dtype)
            self.unpack(*chunk)
        place[:] = chunk[1][low - first : high - first]
        if high == begin + len(out):
            self._last = chunk


def _of_hdf5(array: Any) -> Unpack | None:
    from h5py import h5z
    from h5py._objects import phil

    plist = array.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    shuffled = filters == [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE]
    if filters != [h5z.FILTER_DEFLATE] and not shuffled:
        return None

    def unpack(first: int, out: np.ndarray) -> None:
        with phil:  # HDF5 is not thread-safe; unlike other functions, this one does not take h5py's lock
            skipped, raw = array.id.read_direct_chunk((first,))
        if skipped:  # filters that this chunk did not pass
            values = array[first : first + len(out)]
            out[: len(values)] = values
            return
        unpacked = _inflate(raw, out.nbytes)
        if unpacked is None:
            raise ValueError(_damaged(array, first))
        if shuffled:
            by_byte = np.frombuffer(unpacked, np.uint8).reshape(out.itemsize, len(out))
            out.view(np.uint8).reshape(len(out), out.itemsize)[:] = by_byte.T
        else:
            out[:] = np.frombuffer(unpacked, out.dtype)

    return unpack


def _inflate(raw: bytes, size: int) -> bytes | None:
    """The ``size`` bytes that were packed; ``None`` if they are damaged, or not as many."""
    packed = zlib.decompressobj()
    try:
        unpacked = packed.decompress(raw, size + 1)  # one more, so that the checksum at the end is compared
    except zlib.error:
        return None
    return unpacked if packed.eof and len(unpacked) == size else None


def _of_zarr(array: Any) -> Unpack | None:
    """Of a list in a directory, packed by Blosc or Zstandard, as anndata writes it."""
    import numcodecs

    serializer = {} if array.serializer is None else array.serializer.to_dict()  # none in format 2
    names = [type(codec).__name__.removesuffix("Codec") for codec in array.compressors]
    as_in_memory = serializer in _LITTLE_ENDIAN and array.dtype.str[0] != ">"
    if array.filters or not as_in_memory or names not in (["Blosc"], ["Zstd"]) or not is_local(array):
        return None
    codec = getattr(numcodecs, names[0])()  # what unpacks it is stated in the chunk
    read = chunk_reader(array)

    def unpack(first: int, out: np.ndarray) -> None:
        raw, place = read(first // len(out)), out.view(np.uint8)
        if raw is None:
            out[:] = array.fill_value
            return
        place[-1] = 255  # stays if the chunk holds less
        try:
            codec.decode(raw, place)
            whole = place[-1] != 255 or len(codec.decode(raw)) == len(place)
        except (ValueError, RuntimeError) as error:
            raise ValueError(_damaged(array, first)) from error
        if not whole:
            raise ValueError(_damaged(array, first))

    return unpack


def _damaged(array: Any, first: int) -> str:
    return f"The chunk of {array.name} at {first:,} is cut off or damaged."

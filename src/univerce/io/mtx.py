"""MatrixMarket files."""

from __future__ import annotations

import inspect
import io
from typing import IO, Any

from scipy.io import mmread

_TEXT = bytes({*range(256)} - {*range(32), 127} | {*b"\t\n\v\f\r"})
"""Bytes of a text; at others scipy reads beyond the end."""


class _Ended(io.RawIOBase):
    """The bytes of a text and a line end: scipy reads beyond the end of a last line that is damaged."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._end = stream, b"\n"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        if found := data.translate(None, _TEXT):
            raise ValueError(f"a text has no byte {found[0]}")
        if not data:
            data, self._end = self._end, b""
        buffer[: len(data)] = data
        return len(data)


def read_mtx(stream: IO[bytes]) -> Any:
    """Read a matrix, dense or a sparse array, as scipy 1.20 will by default; before scipy 1.15 a sparse matrix."""
    options = {"spmatrix": False} if "spmatrix" in inspect.signature(mmread).parameters else {}
    return mmread(io.BufferedReader(_Ended(stream), 2**20), **options)

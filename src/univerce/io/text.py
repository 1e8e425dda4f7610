"""Text files from elsewhere, compressed or not: bounded in size, with one error."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from univerce._errors import FileError, reading

LONGEST_LINE = 2**24  # characters; the longest protein has 35,000 residues
_SMALL, _MOST = 2**28, 200  # bytes of any file, and of each compressed byte: annotations have about 30
_MOST_WHOLE = 1e15  # positions, tokens; float64 has all of them
_PACKED: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


class _Bounded(io.RawIOBase):
    """Unpacked bytes of a file; an error if they are more than any text has."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path = stream, path
        self._left = _SMALL + _MOST * path.stat().st_size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read1(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise FileError(f"{self._path} unpacks to more than {_MOST} times its size; it is not a text file.")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_text(path: Path) -> TextIO:
    """Open a text file, packed with gzip, bzip2 or xz or not, whatever its name."""
    with open(path, "rb") as file:
        head = file.read(8)
    for magic, opened in _PACKED.items():
        if head.startswith(magic):
            return io.TextIOWrapper(io.BufferedReader(_Bounded(opened(path), path), 2**17), encoding="utf-8")
    return open(path, encoding="utf-8")


def text_lines(path: Path) -> Iterator[str]:
    """Iterate over the lines of a text file; :class:`univerce.FileError` at one that no text has."""
    number = 0
    try:
        with open_text(path) as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if len(line) == LONGEST_LINE:
                    raise FileError(
                        f"{path}, line {number}: more than {LONGEST_LINE:,} characters; it is not a text file."
                    )
                yield line
    except Exception as error:
        with reading(path, f"text after line {number}"):
            raise error


def whole_numbers(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Read a column as int64; also where it holds no whole number, or one of more than 15 digits."""
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float64).to_numpy()
    bad = ~((numbers == np.rint(numbers)) & (np.abs(numbers) < _MOST_WHOLE))
    return np.where(bad, 0, numbers).astype(np.int64), bad


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; :class:`univerce.FileError` otherwise."""
    with reading(path, "a JSON file"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"{path} must hold an object, not {type(content).__name__}.")
        return content


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; :class:`univerce.FileError` otherwise."""
    with reading(path, "valid TOML"):
        return tomllib.loads(path.read_text(encoding="utf-8"))

"""Read pickles and torch files from elsewhere without running code in them."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from univerce._errors import reading
from univerce.io.files import check_unpacked

_NUMBERS = {"f2", "f4", "f8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))}
_ZIP = b"PK\x03\x04"


class _Dtype:
    """Stand-in for ``numpy.dtype`` of numbers; the real one could also hold objects."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in _NUMBERS:
            raise pickle.UnpicklingError(f"it asks for a numpy.dtype {code!r}")
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.code = ("<" if state[1] == "<" else ">") + self.code


def _scalar(dtype: _Dtype, data: bytes) -> int | float:
    return np.frombuffer(data, dtype=dtype.code)[0].item()


_NUMPY = {("numpy", "dtype"): _Dtype} | {
    (f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")
}  # the module moved in numpy 2


class _PlainUnpickler(pickle._Unpickler):
    """Builds containers, strings and numbers, which need no import, and nothing else.

    The unpickler in Python: that in C reserves memory for whatever number of objects and bytes the file states.
    """

    numpy_numbers = False
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # of opcodes
    del dispatch[pickle.BYTEARRAY8[0]]  # reserves what it states; nothing here needs it

    def _build(self) -> None:
        stack: list[Any] = self.stack  # type: ignore[attr-defined]
        if not isinstance(stack[-2], _Dtype):  # the state of anything else, such as a class, is not its to change
            raise pickle.UnpicklingError("it changes the state of an object")
        pickle._Unpickler.load_build(self)  # type: ignore[attr-defined]

    dispatch[pickle.BUILD[0]] = _build

    def find_class(self, module: str, name: str) -> Any:
        if self.numpy_numbers and (module, name) in _NUMPY:
            return _NUMPY[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it asks for the outside object {pid!r}")


def load_pickle_plain(path: Path | str, *, numpy_numbers: bool = False) -> Any:
    """Read a pickle of plain Python containers, strings, bytes and numbers.

    ``numpy_numbers`` also reads numpy scalars, as Python numbers, from pickle protocol 3 on; numpy is not called.
    :class:`univerce.FileError`, before anything has run, if the pickle asks for a class or function, or is damaged.
    """
    unpickler = _PlainUnpickler(io.BytesIO(Path(path).read_bytes()))
    unpickler.numpy_numbers = numpy_numbers
    with reading(path, "a pickle"):
        try:
            return unpickler.load()
        except (pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} was refused: {error}. Only containers, strings and numbers are read from a pickle."
            ) from error


def check_torch(path: Path) -> None:
    """Compare a file of torch with its checksums, which ``torch.load`` does not; ``FileError`` names what differs.

    Files of torch before 1.6 have none.
    """
    with reading(path, "a torch file"):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as content:
                if (damaged := content.testzip()) is not None:
                    raise zipfile.BadZipFile(f"the checksum of {damaged} differs")


def load_torch(path: Path | str, *, mmap: bool = True) -> Any:
    """Read the tensors of a ``torch.save`` file (weights only) on the CPU.

    ``mmap`` leaves tensors on disk until they are read, except in files of torch before 1.6, which are not zips.
    :class:`univerce.FileError`, before anything has run, if the file asks for more than tensors and plain containers,
    or is damaged.
    """
    import torch

    with open(path, "rb") as file:
        is_zip = file.read(len(_ZIP)) == _ZIP
    with reading(path, "a torch file"):
        if is_zip:
            check_unpacked(Path(path))
        try:
            return torch.load(str(path), weights_only=True, mmap=mmap and is_zip, map_location="cpu")
        except pickle.UnpicklingError as error:
            # torch's message explains how to turn the protection off; only report what the file asked for
            asked = re.search(r"GLOBAL (\S+)", str(error))
            reason = f"it asks for {asked[1]}" if asked else "it holds more than tensors, or is damaged"
            raise ValueError(
                f"{path} was refused: {reason}. Only tensors and plain containers are read from it."
            ) from error

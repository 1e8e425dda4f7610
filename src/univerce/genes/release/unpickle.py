"""Read pickles and torch files from elsewhere without running code in them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

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


class _PlainUnpickler(pickle.Unpickler):
    """Builds containers, strings and numbers, which need no import, and nothing else."""

    numpy_numbers = False

    def find_class(self, module: str, name: str) -> Any:
        if self.numpy_numbers and (module, name) in _NUMPY:
            return _NUMPY[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it asks for the outside object {pid!r}")


def load_pickle_plain(path: Path | str, *, numpy_numbers: bool = False) -> Any:
    """Read a pickle of plain Python containers, strings, bytes and numbers.

    ``numpy_numbers`` also reads numpy scalars, as Python numbers, from pickle protocol 3 on; numpy is not called.
    ``ValueError``, before anything has run, if the pickle asks for a class or function, or is damaged.
    """
    with open(path, "rb") as file:
        unpickler = _PlainUnpickler(file)
        unpickler.numpy_numbers = numpy_numbers
        try:
            return unpickler.load()
        # a damaged pickle fails in as many ways as there are opcodes
        except (pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} was refused: {error}. Only containers, strings and numbers are read from a pickle."
            ) from error


def load_torch(path: Path | str, *, mmap: bool = True) -> Any:
    """Read the tensors of a ``torch.save`` file (weights only) on the CPU.

    ``mmap`` leaves tensors on disk until they are read, except in files of torch before 1.6, which are not zips.
    ``ValueError``, before anything has run, if the file asks for more than tensors and plain containers, or is damaged.
    """
    import torch

    with open(path, "rb") as file:
        is_zip = file.read(len(_ZIP)) == _ZIP
    try:
        return torch.load(str(path), weights_only=True, mmap=mmap and is_zip, map_location="cpu")
    except pickle.UnpicklingError as error:
        # torch's message explains how to turn the protection off; only report what the file asked for
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else "it holds more than tensors, or is damaged"
        raise ValueError(
            f"{path} was refused: {reason}. Only tensors and plain containers are read from it."
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is damaged or not a torch file: {reason}") from error

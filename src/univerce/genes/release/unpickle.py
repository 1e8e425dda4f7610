"""Reading pickles and torch files of others without running what is in them."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

_NUMBERS = {"f2", "f4", "f8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))}
_ZIP = b"PK\x03\x04"


class _Dtype:
    """Stands in for ``numpy.dtype`` of one number, which could also be told to hold objects."""

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
    """Builds containers, strings and numbers, for which a pickle needs no import, and nothing else."""

    numpy_numbers = False

    def find_class(self, module: str, name: str) -> Any:
        if self.numpy_numbers and (module, name) in _NUMPY:
            return _NUMPY[module, name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it asks for the outside object {pid!r}")


def load_pickle_plain(path: Path | str, *, numpy_numbers: bool = False) -> Any:
    """Read a pickle that holds nothing but Python containers, strings, bytes and numbers.

    Parameters
    ----------
    path
        The file.
    numpy_numbers
        Read single numbers of numpy, too, as numbers of Python, from pickle protocol 3 on; nothing of numpy is called.

    Returns
    -------
    What was pickled.

    Raises
    ------
    ValueError
        When the pickle asks for any class or function, or is damaged. Nothing of it has run then.

    Examples
    --------
    >>> import pickle, tempfile
    >>> from pathlib import Path
    >>> from univerce.genes.release.unpickle import load_pickle_plain
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / "offsets.pkl"
    ...     _ = path.write_bytes(pickle.dumps({"human": 13466}))
    ...     load_pickle_plain(path)
    {'human': 13466}
    """
    with open(path, "rb") as file:
        unpickler = _PlainUnpickler(file)
        unpickler.numpy_numbers = numpy_numbers
        try:
            return unpickler.load()
        # A damaged pickle fails in as many ways as there are opcodes.
        except (pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} was refused: {error}. Only containers, strings and numbers are read from a pickle."
            ) from error


def load_torch(path: Path | str, *, mmap: bool = True) -> Any:
    """Read the tensors of a torch file (weights only) on the CPU.

    Parameters
    ----------
    path
        A file of ``torch.save``.
    mmap
        Leave the tensors on disk until they are read. A file of torch before 1.6, which is no zip, is read whole.

    Returns
    -------
    The saved tensor, dictionary or list.

    Raises
    ------
    ValueError
        When the file asks for anything but tensors and plain containers (nothing of it has run then), or is damaged.

    Examples
    --------
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from univerce.genes.release.unpickle import load_torch
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     torch.save({"weight": torch.ones(2)}, Path(directory) / "model.torch")
    ...     load_torch(Path(directory) / "model.torch", mmap=False)
    {'weight': tensor([1., 1.])}
    """
    import torch

    with open(path, "rb") as file:
        is_zip = file.read(len(_ZIP)) == _ZIP
    try:
        return torch.load(str(path), weights_only=True, mmap=mmap and is_zip, map_location="cpu")
    except pickle.UnpicklingError as error:
        # torch's own message explains how to switch the protection off: only what was asked for is told.
        asked = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else "it holds more than tensors, or is damaged"
        raise ValueError(
            f"{path} was refused: {reason}. Only tensors and plain containers are read from it."
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} is damaged or no torch file: {reason}") from error

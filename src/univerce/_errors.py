"""The error of a damaged file, and the one place that raises it for the readers of other packages."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class FileError(ValueError):
    """A file is damaged, of another kind than its name says, or declares sizes that it does not have.

    The message begins with the path. A file that does not exist or may not be read raises the ``OSError`` of Python.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / "worm.h5ad"
    ...     _ = path.write_text("<html>403 Forbidden</html>")
    ...     try:
    ...         uc.genes.read_table(path)
    ...     except uc.FileError as error:
    ...         print("damaged" in str(error))
    True
    """


@contextmanager
def reading(path: Path | str | None, kind: str, *, parts: bool = False) -> Iterator[None]:
    """Raise whatever the reader of a file raises as :class:`FileError` with its path.

    A damaged file fails in as many ways as there are lines in its reader, up to ``RecursionError`` and ``MemoryError``.
    Errors of the system, such as missing permissions, and of missing packages stay. So do all errors of a matrix in
    memory, whose ``path`` is ``None``. ``kind`` is what the file should be, such as ``"a gene table"``; with ``parts``
    a missing file is damage, too: that of a directory that exists.
    """
    try:
        yield
    except (FileError, Warning, ImportError):
        raise
    except Exception as error:
        if path is None or _of_the_system(error, parts=parts):
            raise
        if isinstance(error, ValueError) and str(error).lstrip("'").startswith(str(path)):
            raise FileError(str(error)) from error
        raise FileError(f"{path} is damaged or is not {kind}: {_reason(error)}") from error


def _of_the_system(error: Exception, *, parts: bool) -> bool:
    if isinstance(error, FileNotFoundError):
        return not parts
    # an empty file cannot be mapped, and a name in a file may be too long
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL, errno.ENAMETOOLONG)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it states more than fits into memory."
    if isinstance(error, RecursionError):
        return "it is nested too deeply."
    text: Any = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    told = lines[0] if lines else ""
    return told if isinstance(error, ValueError | OSError) and told else f"{type(error).__name__} {told}".strip()

"""SHA-256 of files, and the note of those that were downloaded."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

from univerce._errors import FileError
from univerce._settings import logger, settings
from univerce.io.atomic import locked, write_whole
from univerce.io.text import read_json

_CHECKSUMS = "checksums.json"


def file_sha256(path: Path | str) -> str:
    """Compute the SHA-256 of a file, once per process while its size and modification time stay the same."""
    stat = Path(path).stat()
    return _sha256(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checksums() -> dict[str, str]:
    """Read ``<cache_dir>/checksums.json``: file name to the SHA-256 of its first verified download.

    Repositories of the hub are listed with the commit of their first fetch.
    """
    path = settings.cache_dir / _CHECKSUMS
    try:
        return read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except FileError as error:
        raise FileError(f"{error} Delete it; the checksums are recorded again.") from error


def check_digest(name: str, path: Path) -> None:
    """Compare a file with the recorded SHA-256, or record it if this is the first verified copy."""
    digest = file_sha256(path)
    recorded = read_checksums().get(name)
    if recorded is None:
        record_checksum(name, digest)
    elif digest != recorded:
        raise ValueError(
            f"{name} has the SHA-256 {digest}, but {recorded} was recorded at its first verified download. If the "
            f"file was changed by mistake, delete {settings.cache_dir / name} and fetch it again; if you trust the new "
            f"one, delete its entry in {settings.cache_dir / _CHECKSUMS}."
        )


def record_checksum(name: str, digest: str) -> None:
    """Record the checksum of a name for later calls."""
    path = settings.cache_dir / _CHECKSUMS
    try:
        with locked(path):
            text = json.dumps(read_checksums() | {name: digest}, indent=2, sort_keys=True)
            write_whole(path, f"{text}\n".encode())
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        # a shared cache that only its owner may write still serves its files
        logger.warning("Could not record the checksum of %s in %s: %s", name, path, error)

"""Files that end with the SHA-256 of what is before it, which readers of HDF5, zip and faiss ignore."""

from __future__ import annotations

import hashlib
from pathlib import Path

_MARK = b"\nuniverce-sha256:"
_LENGTH = len(_MARK) + 64


def seal(path: Path) -> None:
    """Append the digest to a file."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(_MARK + digest.encode())


def is_intact(path: Path) -> bool:
    """Whether a sealed file is as it was written."""
    sha, left = hashlib.sha256(), path.stat().st_size - _LENGTH
    if left < 0:
        return False
    with path.open("rb") as file:
        while left and (block := file.read(min(left, 2**20))):
            sha.update(block)
            left -= len(block)
        return file.read() == _MARK + sha.hexdigest().encode()

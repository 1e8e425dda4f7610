"""Write files and directories so that they appear whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path | str, *, keep: bool = False) -> Iterator[Path]:
    """Yield a temporary path of the same name, which replaces ``path`` if the block succeeds and is removed otherwise.

    The block writes a file or a directory, which is on disk before it is renamed; parents of ``path`` are created. A
    directory cannot be replaced in one step: a process killed in between leaves the old one for :func:`recover`. With
    ``keep``, ``OSError`` is raised instead of replacing a directory that is not empty.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    scratch.mkdir()
    part = scratch / path.name
    try:
        yield part
        for file in [part] if part.is_file() else part.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        if path.exists() and not keep and (path.is_dir() or part.is_dir()):
            _remove(_old(path))
            path.rename(_old(path))
        part.replace(path)
        if not keep:
            _remove(_old(path))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_whole(path: Path | str, data: bytes) -> None:
    """Write a file in one step."""
    with replacing(path) as part:
        part.write_bytes(data)


def recover(path: Path) -> None:
    """Put back ``path`` if its replacement was interrupted, and remove what killed writers left.

    No other process may write ``path`` meanwhile.
    """
    if _old(path).exists() and not path.exists():
        _old(path).rename(path)
    _remove(_old(path))
    part = re.compile(rf"{re.escape(f'.{path.name}')}\.[0-9a-f]{{32}}\.part")
    for leftover in [each for each in path.parent.iterdir() if part.fullmatch(each.name)]:
        shutil.rmtree(leftover, ignore_errors=True)


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

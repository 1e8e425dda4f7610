"""Write files and directories so that they appear whole or not at all.

Beside a target ``T`` lie, while it is written: ``.T.writing``, a lock; ``.T.MACHINE-PID-RANDOM.part``, a directory with
the new content; and for a moment ``.T.old``, a directory that is replaced. If the process is killed, the next to write
in the directory removes the first two, and the next to write ``T``, or to read it with :func:`recover`, the last.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import platform
import re
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from univerce.io.lock import file_lock, remove_unheld

_LOCK = ".writing"
_PART = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.part", re.DOTALL)
_FOREIGN_DAYS = 7  # without a change, until the files of a writer on another machine are those of a dead one
_LONGEST_NAME = 200  # bytes; file systems allow 255
_held = threading.local()


@contextmanager
def locked(path: Path | str, *, seconds: float | None = None) -> Iterator[None]:
    """Be the only writer of ``path``, also in nested blocks; what killed writers left is repaired and removed.

    Parents of ``path`` are created. ``TimeoutError`` if another process does not finish within ``seconds``.
    """
    target = Path(path).resolve()
    mine: set[Path] = _held.__dict__.setdefault("targets", set())
    if target in mine:
        yield
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(_beside(target, _LOCK), target, seconds=seconds):
        mine.add(target)
        try:
            _put_back(target)
            for directory in (target.parent, target):
                remove_leftovers(directory)
            yield
        finally:
            mine.discard(target)


@contextmanager
def replacing(path: Path | str, *, lock: bool = True) -> Iterator[Path]:
    """Yield a temporary path of the same name, which replaces ``path`` if the block succeeds and is removed otherwise.

    The block writes a file or a directory, which is on disk before it is renamed. Symbolic links are followed. Without
    ``lock``, several processes may write the same file, all with the same content.
    """
    target = Path(path).resolve()
    if lock:
        with locked(target), replacing(path, lock=False) as part:
            yield part
        return
    with scratch(target) as directory:
        part = directory / Path(path).name
        yield part
        if part.is_file() and target.is_file():
            shutil.copymode(target, part)
        for file in (part, *part.rglob("*")):
            _sync(file)
        if target.is_dir() or (part.is_dir() and target.exists()):  # not replaced in one step
            try:
                target.rename(_old(target))
                part.rename(target)
            finally:
                _put_back(target, directory)
        else:
            part.replace(target)
        _sync(target.parent)


def put(part: Path, path: Path) -> None:
    """Give a complete file its name, on disk before and after."""
    _sync(part)
    part.replace(path)
    _sync(path.parent)


def write_whole(path: Path | str, data: bytes, *, lock: bool = True) -> None:
    """Write a file in one step."""
    with replacing(path, lock=lock) as part:
        part.write_bytes(data)


@contextmanager
def scratch(path: Path | str) -> Iterator[Path]:
    """Create a directory beside ``path`` for temporary files; it is removed at the end.

    A full disk is an ``OSError`` that names ``path``, whatever the writers of other packages raise.
    """
    target = Path(path).resolve()
    directory = _beside(target, f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir()
        yield directory
    except Exception as error:
        if (code := full_disk(error)) is None:
            raise
        raise OSError(code, os.strerror(code), str(target)) from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def full_disk(error: Exception) -> int | None:
    """Number of an error that says that the disk is full; writers of other packages raise it as any class."""
    return next((code for code in (errno.ENOSPC, errno.EDQUOT) if os.strerror(code) in str(error)), None)


def recover(path: Path | str) -> None:
    """Put back the directory ``path`` if the process that replaced it was killed between two steps."""
    target = Path(path).resolve()
    if not target.exists() and _old(target).exists():
        with locked(target):  # or another process is replacing it now
            pass


def remove_leftovers(directory: Path) -> None:
    """Remove what dead writers left in a directory, if it is there."""
    for entry in list(os.scandir(directory)) if directory.is_dir() else ():
        if entry.name.startswith(".") and entry.name.endswith(_LOCK):
            remove_unheld(Path(entry.path))
        if (match := _PART.fullmatch(entry.name)) is None:
            continue
        machine, pid = match.groups()
        if machine == _machine():
            dead = not _is_alive(int(pid))
        else:
            dead = _newest(Path(entry.path)) < time.time() - _FOREIGN_DAYS * 86400
        if dead:
            shutil.rmtree(entry.path, ignore_errors=True)


def _put_back(target: Path, trash: Path | None = None) -> None:
    """End a replacement that was interrupted: the old directory is put back, or removed if the new one is there."""
    old = _old(target)
    if not old.exists():
        return
    if not target.exists():
        old.rename(target)
    elif trash is not None:
        old.rename(trash / "old")  # what is half removed must not have the name of what can be put back
    else:
        with scratch(target) as directory:
            old.rename(directory / "old")


def _beside(target: Path, suffix: str) -> Path:
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}{suffix}")


def _old(target: Path) -> Path:
    return _beside(target, ".old")


def _sync(path: Path) -> None:
    """Wait until a file or the names in a directory are on disk."""
    if sys.platform == "win32" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that do not sync directories
            raise
    finally:
        os.close(descriptor)


@functools.cache
def _machine() -> str:
    """Eight digits of this machine; containers of the same name have other process numbers, thus are others."""
    try:
        processes = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        processes = 0
    return hashlib.sha256(f"{platform.node()} {processes}".encode()).hexdigest()[:8]


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _newest(path: Path) -> float:
    """Time of the last change in a tree; now, if another process removes it meanwhile."""
    try:
        return max(each.stat().st_mtime for each in (path, *path.rglob("*")))
    except OSError:
        return time.time()

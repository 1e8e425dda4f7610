"""A lock that processes share by a file, which is removed when it is released."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from univerce._settings import logger

_POLL, _PATIENCE = 0.05, 10.0  # seconds between two attempts, and until the wait is logged
_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, errno.ENOLCK}


@contextmanager
def file_lock(file: Path, what: Path, *, seconds: float | None = None) -> Iterator[None]:
    """Hold the lock ``file`` of ``what`` in one thread of one process; the system releases it if the process dies.

    ``TimeoutError`` after ``seconds``; ``None`` waits for ever. A file system without locks is used without one.
    """
    if sys.platform == "win32":
        from filelock import FileLock

        with FileLock(file, timeout=-1 if seconds is None else seconds):  # its Timeout is a TimeoutError
            yield
        return

    # Releases of filelock differ in who removes the file on Unix, and two that both do let two processes in.
    import fcntl

    descriptor = _acquire(file, what, seconds)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # still held: whoever waits for it finds another file, or none
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # forked processes share the descriptor
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        finally:
            os.close(descriptor)


def remove_unheld(file: Path) -> None:
    """Remove the lock of a process that died; one that is held stays."""
    try:
        with file_lock(file, file, seconds=0):
            pass
    except OSError:  # held, or of another user
        pass


def _acquire(file: Path, what: Path, seconds: float | None) -> int:
    began, told = time.monotonic(), False
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _is_held(descriptor, file):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        waited = time.monotonic() - began
        if seconds is not None and waited >= seconds:
            raise TimeoutError(
                f"Another process is writing {str(what)!r} and did not finish within {seconds:g} seconds. Try again "
                "later."
            )
        if not told and waited > _PATIENCE:
            told = True
            logger.warning("Waiting for another process that writes %s.", what)
        time.sleep(_POLL)


def _is_held(descriptor: int, file: Path) -> bool:
    """Try to lock; the process that held the lock before may have removed the file meanwhile."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        logger.debug("%s: no locks on this file system (%s).", file, error)
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False

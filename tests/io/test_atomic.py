"""Files and directories appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from univerce.io import atomic
from univerce.io.atomic import locked, recover, remove_leftovers, replacing, scratch, write_whole

DEAD = subprocess.Popen([sys.executable, "-c", ""])
DEAD.wait()


def write(part: Path, *, directory: bool, text: str) -> None:
    if directory:
        part.mkdir()
        part = part / "content"
    part.write_text(text)
    if text == "half":
        raise ZeroDivisionError


@pytest.mark.parametrize("directory", [False, True], ids=["file", "directory"])
def test_new_content_replaces_the_old_unless_there_is_an_error(tmp_path, directory):
    path = tmp_path / "new" / "a.h5ad"
    for text in ("one", "two"):
        with replacing(path) as part:
            assert part.name == path.name
            write(part, directory=directory, text=text)
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        write(part, directory=directory, text="half")
    assert (path / "content" if directory else path).read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("directory", [False, True], ids=["file", "directory"])
def test_symbolic_links_are_followed_and_long_names_and_modes_kept(tmp_path, directory):
    target, link = tmp_path / "there" / ("n" * 255), tmp_path / "here.zarr"
    link.symlink_to(target)
    for text in ("one", "two"):
        with replacing(link) as part:
            assert part.name == "here.zarr"
            write(part, directory=directory, text=text)
        if not directory:
            target.chmod(0o600)
    assert link.is_symlink()
    assert (target / "content" if directory else target).read_text() == "two"
    assert directory or stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("replaced", [False, True], ids=["before the new one came", "after"])
@pytest.mark.parametrize("repair", ["reader", "writer"])
def test_an_interrupted_replacement_of_a_directory_is_repaired(tmp_path, repair, replaced):
    path = tmp_path / "a.zarr"
    write(tmp_path / ".a.zarr.old", directory=True, text="old")
    if replaced:
        write(path, directory=True, text="new")
    if repair == "reader":
        recover(path)
    else:
        with locked(path):
            pass
    assert (path / "content").read_text() == ("new" if replaced else "old")
    assert repair == "reader" or list(tmp_path.iterdir()) == [path]


def test_an_interruption_between_the_two_steps_puts_the_old_directory_back(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write(path, directory=True, text="old")
    rename = Path.rename

    def interrupted(self, target):
        if target == path and self.parent != tmp_path:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        write(part, directory=True, text="new")
    assert (path / "content").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "a temporary file"),
        OSError("Can't close file (errno = 28, error message = 'No space left on device', buf = 0x55)"),  # HDF5
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
    ],
)
def test_a_full_disk_is_one_error_that_names_the_target(tmp_path, error):
    path = tmp_path / "a.h5ad"
    path.write_text("old")
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.h5ad'") as caught, replacing(path):
        raise error
    assert caught.value.errno == errno.ENOSPC
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5ad"]
    assert path.read_text() == "old"


def test_leftovers_of_dead_writers_are_removed_and_those_of_others_kept(tmp_path):
    mine = atomic._machine()
    names = {
        f".a.{mine}-{DEAD.pid}-00000000.part": False, f".b.{mine}-{DEAD.pid}-00000000.part": False,
        f".a.{mine}-{os.getpid()}-00000000.part": True, f".a.{mine}-1-00000000.part": True,
        f".a.00000000-{DEAD.pid}-00000000.part": True, f".old.00000000-{DEAD.pid}-00000000.part": False,
        ".a.part": True, ".b.old": True, f"a.{mine}-{DEAD.pid}-00000000.part": True,
    }  # fmt: skip
    for name in names:
        (tmp_path / name / "inside").mkdir(parents=True)
    old, week = tmp_path / f".old.00000000-{DEAD.pid}-00000000.part", time.time() - 8 * 86400
    for path in (old / "inside", old):
        os.utime(path, (week, week))
    write_whole(tmp_path / "a", b"")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", *(name for name, kept in names.items() if kept)}


def test_one_writer_at_a_time_in_threads_and_nested_blocks(tmp_path):
    path, inside, most = tmp_path / "a", 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with locked(path), locked(path):
                inside += 1
                most = max(most, inside)
                write_whole(path, b"x" * 1000)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == [path]
    with locked(path), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(locked(path, seconds=0.1).__enter__)
        with pytest.raises(TimeoutError, match=r"Another process is writing '.*a' and did not finish within 0\.1 sec"):
            waiting.result()


def test_a_file_system_without_locks_or_synced_directories_is_written(tmp_path, monkeypatch):
    def unsupported(*args):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: unsupported() if stat.S_ISDIR(os.fstat(fd).st_mode) else fsync(fd))
    write_whole(tmp_path / "a", b"bytes")
    assert (tmp_path / "a").read_bytes() == b"bytes"
    with scratch(tmp_path / "a") as directory:
        assert directory.parent == tmp_path
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]

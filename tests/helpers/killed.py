"""Kill a writer before each change that it makes to a directory, and look at what is left."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.files import contents
from univerce.io.atomic import remove_leftovers

KILLED, REFUSED = 77, 78
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Writer:
    """What a user calls, and how what it wrote is read."""

    name: str
    write: Callable[[Path], Any]
    """Writes below a directory; the same call writes the same bytes."""
    read: Callable[[Path], Any]
    """What a reader of the package finds, in a form that can be compared; ``None`` for nothing, or work to resume."""
    prepare: Callable[[Path], Any] = lambda directory: None
    plain: Callable[[Path], Any] | None = None
    """As ``read``, by a tool that repairs nothing."""
    once: bool = False
    """Whether a call after a complete one is refused, or only reads."""
    same: Callable[[Path], bytes] | None = None
    """What has to be the same in a file, if not every byte."""


@dataclass(frozen=True)
class Outcome:
    """What was found after one kill."""

    n: int
    state: str
    """``"old"``, ``"new"``, ``"none"``, or what is wrong."""
    same: bool
    """Whether the same call then gave the same bytes and nothing else."""

    @property
    def held(self) -> bool:
        return self.state in ("old", "new", "none") and self.same


def kill_everywhere(
    writer: Writer, scratch: Path, *, power: bool = False, inside: bool = False, most: int | None = None
) -> list[Outcome]:
    """Kill before each change that others see, or ``inside`` of directories of temporary files, too; ``most`` of them.

    With ``power``, files that were not synced also lose their second half, as when the machine stops.
    """
    template = scratch / "before"
    template.mkdir(parents=True)
    _in_child(lambda: writer.prepare(template))
    old, before = _copy(template, scratch / "old"), contents(template)
    whole = _copy(template, scratch / "whole")
    n_changes = _in_child(lambda: writer.write(whole), before=sys.maxsize, directory=whole, inside=inside)[1]
    after = _contents(writer, whole)
    known = {read: (read(old), read(whole)) for read in (writer.plain, writer.read) if read is not None}
    assert all(new not in (None, before) for before, new in known.values()), f"{writer.name} wrote nothing"
    outcomes = []
    every = 1 if most is None else max(1, n_changes // most)
    for n in (*range(0, n_changes, every), n_changes):  # at last a call that is not killed
        directory = _copy(template, scratch / f"{n}")
        _in_child(lambda d=directory: writer.write(d), before=n, directory=directory, power=power, inside=inside)
        state = _state(writer, directory, known)
        _in_child(lambda d=directory: writer.write(d), refusable=writer.once and state == "new")
        if writer.once and state == "new":  # the call wrote nothing, and left the rest to the next that writes there
            for folder in (directory, *filter(Path.is_dir, list(directory.rglob("*")))):
                if folder.exists():
                    remove_leftovers(folder)
        found = _contents(writer, directory)
        outcomes.append(Outcome(n, state, found == after))
        if not outcomes[-1].same:
            differ = sorted(k for k in after.keys() | found.keys() if after.get(k) != found.get(k))
            print(f"{writer.name}, change {n} of {n_changes}: {state}; after a rerun other: {differ[:4]}")
        shutil.rmtree(directory)
    assert contents(template) == before
    return outcomes


def write_twice(writer: Writer, scratch: Path, n: int) -> bool:
    """Stop a writer before its n-th change, let another process write the same, and continue.

    Whether both then leave what one would.
    """
    template = scratch / "before"
    template.mkdir(parents=True)
    _in_child(lambda: writer.prepare(template))
    whole, both = (_copy(template, scratch / name) for name in ("whole", "both"))
    _in_child(lambda: writer.write(whole))
    first = _start(lambda: writer.write(both), before=n, directory=both, stop=True, refusable=writer.once)
    os.waitpid(first, os.WUNTRACED)  # it has stopped, or ended
    second = _start(lambda: writer.write(both), refusable=writer.once)
    deadline = time.monotonic() + 0.3  # it waits for the first, or not
    done = 0
    while not done and time.monotonic() < deadline:
        done = os.waitpid(second, os.WNOHANG)[0]
        time.sleep(0.01)
    try:
        os.kill(first, signal.SIGCONT)
        os.waitpid(first, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it had ended before
    if not done:
        os.waitpid(second, 0)
    return _contents(writer, both) == _contents(writer, whole)


def _state(writer: Writer, directory: Path, known: dict[Callable[[Path], Any], tuple[Any, Any]]) -> str:
    """What readers find: a plain one first, since the other repairs."""
    for read, (old, new) in known.items():
        try:
            found = read(directory)
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
        missing = [None] if old is None or read is writer.plain else []  # between two names
        if found not in (old, new, *missing):
            return "half"
    return "new" if found == new else "none" if found is None else "old"


def _contents(writer: Writer, directory: Path) -> dict[str, bytes]:
    """Files, and directories that hold nothing."""
    there = {str(path.relative_to(directory)): path for path in directory.rglob("*")}
    files = {name: (writer.same or _same)(path) for name, path in there.items() if path.is_file()}
    return files | {f"{name}/": b"" for name, path in there.items() if path.is_dir() and not any(path.iterdir())}


def _copy(template: Path, directory: Path) -> Path:
    shutil.copytree(template, directory, symlinks=True)
    return directory


def _in_child(work: Callable[[], Any], *, refusable: bool = False, **options: Any) -> tuple[int, int]:
    """Exit code, and number of changes if they are counted."""
    reader, writer = os.pipe()
    pid = _start(work, refusable=refusable, report=writer, **options)
    os.close(writer)
    with os.fdopen(reader) as file:
        counted = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, KILLED) and not (code == REFUSED and refusable):
        raise AssertionError(f"the writer ended with {code}")
    return code, int(counted or 0)


def _start(
    work: Callable[[], Any], *, before: int | None = None, directory: Path | None = None, power: bool = False,
    inside: bool = False, stop: bool = False, refusable: bool = False, report: int | None = None,
) -> int:  # fmt: skip
    pid = os.fork()
    if pid:
        return pid
    code = 2
    try:
        count = itertools.count()
        if before is not None:
            _watch(count, before, directory, power=power, inside=inside, stop=stop)
        work()
        if report is not None:
            os.write(report, str(next(count)).encode())
        code = 0
    except (FileExistsError, ValueError):
        code = REFUSED if refusable else code
        if not refusable:
            traceback.print_exc()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _watch(count: Any, before: int, directory: Path, *, power: bool, inside: bool, stop: bool) -> None:
    """In a child: end, or stop, before a change of a directory."""
    there = {file.stat().st_ino for file in directory.rglob("*")}
    synced, sync = set[int](), os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    os.fsync = fsync

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not (event in _CHANGES or (event == "open" and _writes(*arguments[1:]))) or isinstance(arguments[0], int):
            return
        path = Path(os.fsdecode(arguments[0]))
        if path.is_absolute() and directory not in path.parents:  # others are relative to an open directory
            return
        if not inside and (not path.is_absolute() or any(part.endswith(".part") for part in path.parts[:-1])):
            return
        if next(count) == before:
            if stop:
                os.kill(os.getpid(), signal.SIGSTOP)
                return
            if power:
                for file in directory.rglob("*"):
                    stat = file.lstat()
                    if file.is_file() and stat.st_ino not in synced | there:
                        os.truncate(file, stat.st_size // 2)
            os._exit(KILLED)

    sys.addaudithook(hook)


def _writes(mode: str | None, flags: int) -> bool:
    return bool(flags & _WRITES) if mode is None else bool(set(mode) & set("wax+"))


def _same(path: Path) -> bytes:
    """Every byte, but for metadata that older releases of zarr list in the order of the directory."""
    if path.name == ".zmetadata":
        return json.dumps(json.loads(path.read_bytes()), sort_keys=True).encode()
    return path.read_bytes()

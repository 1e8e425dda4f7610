"""Every format that is read, with every damage: a file is read, or refused with its path, in seconds and in memory."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fuzz.target import Format
from benchmarks.fuzz.targets import TARGETS
from benchmarks.measurement import Run, check

_CUTS, _FLIPS = 20, 100
_SECONDS, _BYTES = 60, 6 * 2**30  # CPU time of one file, and memory of its process
_OTHERS = (
    b"<html><body>403 Forbidden</body></html>" * 20, bytes(4096), b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8,
    b"\x89HDF\r\n\x1a\n" + bytes(2000), b"PK\x03\x04" + bytes(500), gzip.compress(b"\xff" * 999), b"\x80\x04N.",
    b"[]", b"3",
)  # fmt: skip
DAMAGES = ("empty", "truncated", "bit flip", "another file", "decompression bomb")


def main(run: Run) -> None:
    """Try all and write the table."""
    rows, failures = [], []
    for name in (run.option("target") or ",".join(TARGETS)).split(","):
        directory = run.scratch()
        target = TARGETS[name](directory)
        for form in target.formats:
            outcomes = [json.loads(line) for line in _in_process(form, directory)]
            found = {damage: [o for d, o in outcomes if d == damage] for damage in DAMAGES}
            failures += [f"{name}, {form.name}, {d}: {o}" for d, o in outcomes if o not in ("read", "refused")]
            rows.append((form.name, *(_told(found[damage]) for damage in DAMAGES)))
    run.record(
        "damaged-files",
        "Damaged files refused with a FileError / files tried; all others were read",
        ("file", *DAMAGES),
        rows,
    )
    for failure in failures:
        print(failure)
    check(ok=not failures, goal="no other error, no hang and no crash")


def _told(outcomes: list[str]) -> str:
    wrong = len(outcomes) - outcomes.count("refused") - outcomes.count("read")
    return f"{outcomes.count('refused')} / {len(outcomes)}{f', {wrong} wrong' if wrong else ''}" if outcomes else "-"


def damaged(form: Format) -> Iterator[tuple[str, bytes]]:
    """Damages of a file by kind; the same ones in every run."""
    whole, rng = form.whole, random.Random(0)
    yield "empty", b""
    for k in range(_CUTS):
        yield "truncated", whole[: 1 + k * (len(whole) - 1) // _CUTS]
    for _ in range(_FLIPS):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        yield "bit flip", bytes(content)
    yield from (("another file", other) for other in _OTHERS)
    yield from (("decompression bomb", bomb) for bomb in form.bombs)


def _in_process(form: Format, directory: Path) -> list[str]:
    """Outcomes as lines of JSON, from a process that may crash; it is told what it was at."""
    log = directory / "outcomes.jsonl"
    log.unlink(missing_ok=True)
    todo = list(damaged(form))
    done = 0
    while done < len(todo):
        if (child := os.fork()) == 0:
            _work(form, todo[done:], log)
        _, status = os.waitpid(child, 0)
        lines = log.read_text().splitlines() if log.exists() else []
        if status:
            lines.append(json.dumps((todo[len(lines)][0], f"crash, status {status}")))
            log.write_text("".join(line + "\n" for line in lines))
        done = len(lines)
    return log.read_text().splitlines()


def _work(form: Format, todo: list[tuple[str, bytes]], log: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    signal.signal(signal.SIGPROF, _hang)
    with log.open("a") as out:
        for damage, content in todo:
            signal.setitimer(signal.ITIMER_PROF, _SECONDS)
            try:
                outcome = "read" if form.attempt(content) else "refused"
            except BaseException as error:  # noqa: BLE001 - each is a finding
                outcome = f"{type(error).__name__}: {str(error)[:200]}"
            signal.setitimer(signal.ITIMER_PROF, 0)
            out.write(json.dumps((damage, outcome)) + "\n")
            out.flush()
    sys.stdout.flush()
    os._exit(0)


def _hang(*_: Any) -> None:
    raise KeyboardInterrupt(f"still running after {_SECONDS} s")

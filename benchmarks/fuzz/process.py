"""Fuzz one target: ``python -m benchmarks.fuzz.process TARGET MINUTES DIRECTORY``, one line of JSON at the end."""

from __future__ import annotations

import json
import secrets
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.fuzz.targets import TARGETS

_EXAMPLES = 50  # of a seed
_LIMIT = 20.0  # seconds of CPU time of one input


class Hang(BaseException):
    """An input took too long."""


def _stop(*_: Any) -> None:
    raise Hang(f"still running after {_LIMIT:g} s of CPU time")


def fuzz(name: str, minutes: float, directory: Path) -> dict[str, Any]:
    """Try inputs for so many minutes of CPU time."""
    target = TARGETS[name](directory)
    counts = {"inputs": 0, "refused": 0}
    findings: dict[str, str] = {}
    signal.signal(signal.SIGPROF, _stop)

    def try_one(value: Any) -> None:
        counts["inputs"] += 1
        signal.setitimer(signal.ITIMER_PROF, _LIMIT)
        try:
            counts["refused"] += not target.attempt(value)
        except Hang as error:
            raise AssertionError(str(error)) from error
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    while time.process_time() < minutes * 60:
        number = secrets.randbelow(2**32)
        one = settings(
            max_examples=_EXAMPLES, deadline=None, database=None, phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
        )(seed(number)(given(target.strategy)(try_one)))  # fmt: skip
        try:
            one()
        except Exception as error:  # noqa: BLE001 - this is what is searched for
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
            notes = " ".join(getattr(error, "__notes__", ()))
            if kind not in findings:
                findings[kind] = f"{kind}: {str(error)[:200]} | seed {number} | {notes[:600]}"
                print(findings[kind], file=sys.stderr, flush=True)
            if len(findings) > 20:
                break
    return {"target": name, **counts, "minutes": time.process_time() / 60, "findings": sorted(findings.values())}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(fuzz(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))))

"""Random files and matrices: each gives the right result or the documented error, never another one, a hang or a crash.

``python -m benchmarks fuzz minutes=30 target=gtf,obo log=DIR`` fuzzes every target, or those named, for so many minutes
of CPU time in all. Each target runs in a process of its own, which may crash. The table holds all targets in the log.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.fuzz.targets import TARGETS
from benchmarks.measurement import Run, check


def main(run: Run) -> None:
    """Fuzz the targets, and append what each found to ``log/fuzz.jsonl``."""
    names = (run.option("target") or ",".join(TARGETS)).split(",")
    minutes = float(run.option("minutes", "30") or 30)
    log = Path(run.option("log") or run.scratch())
    log.mkdir(parents=True, exist_ok=True)
    for name in names:
        scratch = run.scratch()
        command = [sys.executable, "-m", "benchmarks.fuzz.process", name, str(minutes / len(names)), str(scratch)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=run.environment, check=False)
        lines = done.stdout.splitlines()
        found = json.loads(lines[-1]) if done.returncode == 0 else {"target": name, "findings": [f"{done.returncode=}"]}
        if done.returncode:  # what crashed it
            for file in scratch.iterdir():
                file.rename(log / f"crash-{name}-{file.name}")
        with (log / "fuzz.jsonl").open("a") as out:
            out.write(json.dumps(found) + "\n")
        for finding in found["findings"]:
            print(f"{name}: {finding}", flush=True)
    logged = [json.loads(line) for line in (log / "fuzz.jsonl").read_text().splitlines()]
    rows = [
        (f["target"], f.get("inputs", 0), f.get("refused", 0), f.get("minutes", 0.0), len(f["findings"]))
        for f in {f["target"]: f for f in logged}.values()
    ]
    run.record("fuzz", "Random inputs", ("target", "inputs", "refused", "CPU minutes", "findings"), rows)
    check(ok=not any(row[-1] for row in rows), goal="no other error, hang or crash")

"""What every measurement gets, and the tables that it prints and writes."""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path


class Run:
    """One call of ``python -m benchmarks``.

    Parameters
    ----------
    data
        Directory with the real data sets.
    docs
        Directory for the tables that the documentation includes; None writes none.
    scratch
        Empty directory, removed at the end.
    options
        ``NAME=VALUE`` of the command line.
    """

    def __init__(self, data: Path | None, docs: Path | None, scratch: Path, options: dict[str, str]) -> None:
        self._data, self.docs, self.options, self._root = data, docs, options, scratch
        self.read: set[str] = set()

    @property
    def data(self) -> Path:
        if self._data is None:
            raise SystemExit("This measurement needs real data: pass --data DIR, or set UNIVERCE_TEST_DATA.")
        return self._data

    @cached_property
    def environment(self) -> dict[str, str]:
        """Environment of subprocesses."""
        return os.environ | {"PYTHONPATH": os.pathsep.join(["src", ".", os.environ.get("PYTHONPATH", "")])}

    def scratch(self) -> Path:
        """A new empty directory."""
        return Path(tempfile.mkdtemp(dir=self._root))

    def option(self, name: str, default: str | None = None) -> str | None:
        self.read.add(name)
        return self.options.get(name, default)

    def measure(self, name: str) -> set[str]:
        """Run a measurement and return the options that it read."""
        began = time.perf_counter()
        importlib.import_module(f"benchmarks.{name}").main(self)
        print(f"\n{name} took {time.perf_counter() - began:,.0f} s", flush=True)
        return self.read

    def record(
        self, name: str, title: str, header: Sequence[str], rows: Iterable[Sequence[object]], *, append: bool = False
    ) -> None:
        """Print a table, and write it to ``docs/<name>.md`` with the hardware it was measured on, or append it."""
        rows = list(rows)
        print_table(title, header, rows)
        if self.docs is None:
            return
        import torch  # not where only memory is measured

        n_threads = torch.get_num_threads()
        lines = [
            f"*{title}; {n_threads} thread{'s' * (n_threads > 1)} of {_processor()}, torch {torch.__version__}.*",
            "",
            f"| {' | '.join(header)} |",
            f"|{'---|' + '---:|' * (len(header) - 1)}",
            *(f"| {' | '.join(_as_text(cell) for cell in row)} |" for row in rows),
        ]
        self.docs.mkdir(parents=True, exist_ok=True)
        before = (self.docs / f"{name}.md").read_text() + "\n" if append else ""
        (self.docs / f"{name}.md").write_text(before + "\n".join(lines) + "\n")


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A Markdown table on standard output: text to the left, numbers with three significant figures to the right."""
    lines = [list(header), *([_as_text(cell) for cell in row] for row in rows)]
    widths = [max(3, *(len(line[k]) for line in lines)) for k in range(len(header))]
    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    print(f"\n\n{title}\n")
    for line in [lines[0], rule, *lines[1:]]:
        cells = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        print(f"| {' | '.join(cells)} |")


def check(*, ok: bool, goal: str) -> None:
    """End the measurement when a goal is missed."""
    if not ok:
        raise SystemExit(f"Missed: {goal}")


def memory(key: str) -> float:
    """An entry of /proc/self/status in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith(key))


def _as_text(cell: object) -> str:
    """A number with three significant figures, anything else as it is."""
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}" if abs(cell) >= 1 else f"{cell:.3f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _processor() -> str:
    """The name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next((name for name in names if name and name != "unknown"), f"a CPU ({platform.machine()})")

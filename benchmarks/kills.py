"""Kill every writer before the changes that it makes to a directory, and let two processes write one target."""

from __future__ import annotations

import os

import torch

import univerce as uc
from benchmarks.measurement import Run, check
from tests.helpers.killed import kill_everywhere, write_twice
from tests.helpers.writers import WRITERS

_MODES = {"killed": {}, "killed inside": {"inside": True}, "power lost": {"power": True}}
_STOPS = (0, 1, 2, 3, 5, 8, 13)


def main(run: Run) -> None:
    """Print and write the table of writers and kinds of interruption, each with the number tried and held.

    The table of some writers is appended to that of all.
    """
    torch.set_num_threads(1)  # forks
    uc.settings.progress = False
    most, only = int(run.option("most", "60") or 60), run.option("writer", "") or ""
    rows = [_row(run, name, most) for name in WRITERS if only in name]
    title = "Interruptions tried / survived"
    cells = [(row[0], *map(_cell, row[1:])) for row in rows]
    run.record("kill-points", title, ("writer", *_MODES, "two at once"), cells, append=bool(only))
    check(ok=all(all(held) for row in rows for held in row[1:]), goal="all held")


def _row(run: Run, name: str, most: int) -> tuple[str, *tuple[list[bool], ...]]:
    """Name of a writer, and for every kind of interruption whether each was held."""
    writer, held = WRITERS[name](), []
    for options in _MODES.values():
        held.append([outcome.held for outcome in kill_everywhere(writer, run.scratch(), most=most, **options)])
    held.append([write_twice(writer, run.scratch(), n) for n in _STOPS])
    print(name, *map(_cell, held), f"{sum(os.times()[:4]):.0f} s of CPU", sep=" | ", flush=True)
    return name, *held


def _cell(held: list[bool]) -> str:
    return f"{len(held)} / {sum(held)}"

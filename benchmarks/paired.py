"""Time and memory of an earlier commit and of this one: the same jobs in turns, in fresh processes.

``base=COMMIT turns=3 cells=20000 atlas=1000000``; ``only=WORD`` runs the jobs whose names hold the word and replaces
their rows of the table, whose figures are kept in ``paired.json`` beside it. ``dir=DIR`` keeps inputs and indices (12
GB); ``turns=0`` only makes them. Before its first turn a job is run with few cells.
"""

from __future__ import annotations

import compileall
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import scale
from benchmarks.atlas import Cells
from benchmarks.measurement import Run, check
from benchmarks.paired_jobs import JOBS, Job
from univerce.genes.release.registry import BUNDLED_TABLES
from univerce.model import UCE, save_model
from univerce.model.config import UCE_4L, UCE_TINY

ROOT = Path(__file__).parents[1]
HEADER = ("", "before, s", "after, s", "before / after", "range", "GB before", "GB after")
SLOWEST = 0.9
TINY = 500, 3000  # cells, and those of an atlas, before the first turn
Figures = dict[str, list[list[float]]]
"""By tree, for each turn: seconds, CPU seconds and peak memory."""


def main(run: Run) -> None:
    """Measure, and write the table of all jobs measured so far."""
    base, turns, only = run.option("base"), int(run.option("turns", "3")), run.option("only", "")
    sizes = int(run.option("cells", "20000")), int(run.option("atlas", "1000000"))
    if base is None:
        raise SystemExit("Which commit is compared? Pass base=COMMIT.")
    if not any(only in name for name in JOBS):
        raise SystemExit(f"No job is named {only!r}; choose from {'; '.join(JOBS)}.")
    base = _git("rev-parse", "--short", base).decode().strip()
    directory = Path(run.option("dir") or run.scratch()).resolve() / base
    trees = {"before": source(base, directory / "before"), "after": ROOT / "src"}
    compile_sources(trees.values())
    title = f"Before: commit {base}; {sizes[0]:,} cells, an atlas of {sizes[1]:,}; medians of turns"
    raw = None if run.docs is None else run.docs / "paired.json"
    found = json.loads(raw.read_text()) if raw is not None and raw.exists() else {}
    jobs: dict[str, Figures] = found["jobs"] if found.get("title") == title else {}
    for name, job in JOBS.items():
        if only in name:
            figures = _measure(name, job, turns, trees, [_write_missing(directory, job, n) for n in (TINY, sizes)])
            if turns:
                jobs[name] = figures
    if not jobs:
        return
    rows = [_row(name, jobs[name]) for name in JOBS if name in jobs]
    run.record("paired", title, HEADER, rows)
    if raw is not None:
        raw.write_text(json.dumps({"title": title, "jobs": jobs}) + "\n")
    slow = [str(row[0]) for row in rows if row[3] < SLOWEST]
    check(ok=not slow, goal=f"{SLOWEST} of the earlier speed: {'; '.join(slow)}")


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def source(commit: str, directory: Path) -> Path:
    """Extract the sources of a commit to a directory, unless it exists."""
    if not directory.exists():
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "src"))) as archive:
            archive.extractall(directory, filter="data")
    return directory / "src"


def compile_sources(trees: Iterable[Path]) -> None:
    """Compile modules as an installation does, also where the environment keeps Python from writing bytecode."""
    for src in trees:
        compileall.compile_dir(src, quiet=1)


def _measure(name: str, job: Job, turns: int, trees: dict[str, Path], inputs: list[Path]) -> Figures:
    """Turns of a job, each in both trees, the order reversed in every second one."""
    tiny, full = inputs
    for which, src in trees.items():
        _child(name, src, tiny, tiny / which)  # compiles
        if job.keeps is not None and not (full / which / job.keeps).exists():
            _child(name, src, full, full / which)
    figures: Figures = {which: [] for which in trees}
    for turn in range(turns * job.often):
        for which in list(trees)[:: -1 if turn % 2 else 1]:
            figures[which].append(_child(name, trees[which], full, full / which))
            print(f"  {name}, {which}: ", *(f"{value:.3f}" for value in figures[which][-1]), flush=True)
    return figures


def _child(name: str, src: Path, inputs: Path, kept: Path) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.paired_jobs", name, src, inputs, kept], capture_output=True, text=True,
        check=False, cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{src}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}, {src}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _row(name: str, figures: Figures) -> tuple[object, ...]:
    before, after = (np.array(figures[which]) for which in ("before", "after"))
    ratios = before[:, 0] / after[:, 0]
    wall, extent = float(np.median(ratios)), f"{ratios.min():.2f}-{ratios.max():.2f}"
    seconds, peaks = (map(float, np.median([before[:, k], after[:, k]], axis=1)) for k in (0, 2))
    return name, *seconds, wall, extent, *peaks


def _write_missing(directory: Path, job: Job, sizes: tuple[int, int]) -> Path:
    """Write the inputs of a job that do not exist, each whole or not at all."""
    n_cells, n_atlas = sizes
    inputs = directory / f"{n_cells}-{n_atlas}"
    cells = Cells(n_atlas)
    writers: dict[str, Callable[[Path], object]] = {
        "cells.h5ad": partial(scale.write, kind="csr", chunk=0, n_cells=n_cells),
        "cells.gzip.h5ad": partial(scale.write, kind="csr", chunk=0, n_cells=n_cells),
        "cells.zarr": partial(scale.write, kind="csr", chunk=2**20, n_cells=n_cells),
        "network": _write_network,
        "atlas.zarr": cells.write,
        "fifth.zarr": Cells(n_atlas // 5).write,
        "fifth": partial(_write_parts, cells, n_atlas // 5),
        "queries.h5ad": lambda path: cells.queries(500).write_h5ad(path),
        "labeled.h5ad": lambda path: cells.queries(n_atlas // 50).write_h5ad(path),
    }
    for file in job.inputs:
        if not (inputs / file).exists():
            part = inputs / "part" / file
            shutil.rmtree(part.parent, ignore_errors=True)
            part.parent.mkdir(parents=True)
            writers[file](part)
            part.rename(inputs / file)
    return inputs


def _write_network(path: Path) -> None:
    """Four layers of the released size with generated weights, for the bundled gene tables."""
    config = replace(UCE_4L, model_id="generated", token_dim=UCE_TINY.token_dim, token_encoder=UCE_TINY.token_encoder)
    save_model(UCE(config), path)
    (path / "tables").symlink_to(BUNDLED_TABLES.resolve(), target_is_directory=True)


def _write_parts(cells: Cells, n: int, path: Path, *, n_parts: int = 20) -> None:
    """Embedded data sets."""
    path.mkdir()
    for k in range(n_parts):
        cells.queries(n // n_parts, seed=k).write_h5ad(path / f"set {k}.h5ad")

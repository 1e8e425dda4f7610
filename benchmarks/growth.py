"""What further cells cost: time and peak memory of 10,000 to a million generated cells, in memory and from files.

``sizes=10000,100000,1000000`` are the numbers of cells. ``only=WORD`` measures rows whose name holds the word, such as
``only=zarr``. ``csv=FILE`` keeps what was measured, so that a call goes on after the rows of the last one. Files are
embedded into a store, cells in memory into ``obsm``. The largest size of the sentence model is measured from zarr only.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.generated import N_GENES, write_cells
from benchmarks.measurement import Run, check
from univerce.genes.release.registry import BUNDLED_TABLES
from univerce.model import UCE, UCEConfig, save_model
from univerce.model.config import UCE_TINY

EXPRESSED = 200
"""Genes of a cell; few, so that a million cells fit into memory and take minutes."""
MINI, SENTENCES = "uce-mini", "4 layers of width 32"
FORMATS = {"memory": (".h5ad", "memory"), "h5ad": (".h5ad", "backed"), "zarr": (".zarr", "lazy")}
GOAL_GB, GOAL_BYTES = 2.0, 600
HEADER = ("", "cells", "seconds", "cells/s", "peak GB", "bytes per additional cell")


class Row(NamedTuple):
    """A measurement; the fields are the columns of the csv."""

    name: str
    cells: int
    seconds: float
    peak: float


def small_model(directory: Path) -> str:
    """A sentence model so small that a million cells take minutes."""
    config = UCEConfig(
        model_id="generated", token_dim=UCE_TINY.token_dim, token_encoder=UCE_TINY.token_encoder, d_model=32, n_heads=2,
        d_hidden=64, n_layers=4, output_dim=32, decoder_dim=32, gene_dim=32, head_dims=(32,), n_sample=32,
        sampling="systematic",
    )  # fmt: skip
    save_model(UCE(config), directory)
    (directory / "tables").symlink_to(BUNDLED_TABLES.resolve(), target_is_directory=True)
    return str(directory)


def cases(sizes: list[int]) -> Iterator[tuple[str, str, int]]:
    """Model, format and number of cells of each row; rows of one file follow each other."""
    for n in sizes:
        for kind in FORMATS:
            yield MINI, kind, n
            if kind == "zarr" or n < max(sizes):
                yield SENTENCES, kind, n


def measure(run: Run, scratch: Path, model: str, kind: str, n: int) -> Row:
    """Embed a file in a fresh process."""
    suffix, how = FORMATS[kind]
    cells, out = scratch / f"{n}{suffix}", scratch / "store.zarr"
    if not cells.exists():
        for old in scratch.glob(f"*{suffix}"):  # of the last size
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        write_cells(cells, n, expressed=EXPRESSED)
    named = [] if model == MINI else [str(scratch / "model")]
    words = [str(cells), how, "-" if how == "memory" else str(out), *named]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.embed_file", *words], capture_output=True, text=True, check=False,
        env=run.environment,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    shutil.rmtree(out, ignore_errors=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return Row(f"{model}, {kind}", n, found["seconds"], found["peak"])


def main(run: Run) -> None:
    """Measure the rows that are missing, and write the table of all."""
    sizes = sorted(int(n) for n in run.option("sizes", "10000,100000,1000000").split(","))
    only, kept = run.option("only", ""), run.option("csv")
    scratch = run.scratch()
    small_model(scratch / "model")
    path = Path(kept) if kept else scratch / "growth.csv"
    rows = read(path)
    for model, kind, n in cases(sizes):
        name = f"{model}, {kind}"
        if only in f"{name}, {n}" and (name, n) not in {(row.name, row.cells) for row in rows}:
            rows.append(measure(run, scratch, model, kind, n))
            with path.open("a", newline="") as file:
                csv.writer(file).writerow(rows[-1])
            print("  measured", *rows[-1], flush=True)
    title = f"Generated cells with about {EXPRESSED} of {N_GENES:,} genes each; files are embedded into a store"
    lines = list(table(rows))
    run.record("growth", title, HEADER, lines)
    files = [line for line in lines if "memory" not in str(line[0])]
    check(ok=all(line[4] <= GOAL_GB for line in files), goal=f"peaks of {GOAL_GB} GB")
    large = [line for line in files if line[1] >= 10**6 and line[5] != ""]
    check(ok=all(line[5] <= GOAL_BYTES for line in large), goal=f"{GOAL_BYTES} bytes of memory for a further cell")


def read(path: Path) -> list[Row]:
    """Rows of earlier calls."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [Row(name, int(n), *map(float, figures)) for name, n, *figures in csv.reader(file)]


def table(rows: list[Row]) -> Iterator[tuple[object, ...]]:
    """Lines of the table; the memory of each cell more than in the line before."""
    before: Row | None = None
    for row in sorted(rows):
        slope: object = ""
        if before is not None and before.name == row.name:
            slope = round(1e9 * (row.peak - before.peak) / (row.cells - before.cells))
        yield row.name, row.cells, row.seconds, row.cells / row.seconds, row.peak, slope
        before = row

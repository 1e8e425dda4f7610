"""Memory: large files within a bound, and calls that are repeated without growth.

``cells=100000`` and ``genes=60000`` are the size of the files, ``barcodes=700000`` of a raw matrix, ``calls=200`` the
number of calls.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.generated import write_cells
from benchmarks.measurement import Run, check

EXPRESSED = 2000  # asked of the generator; 2,600 genes in a cell at 60,000
GOAL_GB, GOAL_GROWTH = 2.0, 0.01
BARCODES = 36_601, 20  # genes, and those asked of the generator; 27 in a cell
CASES = (("cells.h5ad", "backed", "obsm"), ("cells.h5ad", "backed", "store"), ("cells.zarr", "lazy", "store"))


def main(run: Run) -> None:
    """Embed files that would not fit into the memory that is allowed, and repeat calls."""
    n_cells, n_genes = int(run.option("cells", "100000")), int(run.option("genes", "60000"))
    scratch, rows = run.scratch(), []
    for name, how, where in CASES:
        path = scratch / name
        if not path.exists():
            write_cells(path, n_cells, n_genes, EXPRESSED)
        out = "-" if where == "obsm" else str(scratch / f"{name}.store")
        figures = _child(run, "-m", "benchmarks.embed_file", str(path), how, out)
        rows.append((f"{path.suffix} {how}, into {where}", _size(path), figures["opened"], figures["peak"], GOAL_GB))
    n_barcodes = int(run.option("barcodes", "700000"))
    path = write_cells(scratch / "barcodes.h5ad", n_barcodes, *BARCODES)
    figures = _child(run, "-m", "benchmarks.embed_file", str(path), "backed", "-")
    name = f"{n_barcodes:,} barcodes of a raw matrix, {path.suffix} backed, into obsm"
    rows.append((name, _size(path), figures["opened"], figures["peak"], GOAL_GB))
    title = (
        f"{n_cells:,} cells x {n_genes:,} genes, about {1.3 * EXPRESSED:,.0f} of them in a cell, embedded by uce-mini"
    )
    run.record("memory", title, ("", "GB on disk", "GB after opening", "peak GB", "goal"), rows)
    n_calls = run.option("calls", "200")
    growths = _child(run, "-m", "benchmarks.repeated_calls", n_calls)
    lines = [(what, 1000 * growth, 1000 * GOAL_GROWTH) for what, growth in growths.items()]
    title = f"Growth of resident memory over {n_calls} calls, after the first tenth of them"
    run.record("memory", title, ("", "MB", "goal"), lines, append=True)
    check(ok=all(row[3] <= GOAL_GB for row in rows), goal=f"{GOAL_GB} GB at the peak")
    check(ok=all(growth <= GOAL_GROWTH for growth in growths.values()), goal=f"growth of {1000 * GOAL_GROWTH} MB")


def _child(run: Run, *command: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, env=run.environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def _size(path: Path) -> float:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9 or path.stat().st_size / 1e9

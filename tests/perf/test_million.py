"""Memory that does not grow with the cells: a generated zarr, embedded from its blocks into a store.

``PERF_CELLS`` is the two numbers of cells that are compared, 100,000 and a million by default, which takes hours.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import anndata as ad
import pytest
import zarr

from tests.perf import embed_file
from tests.perf.generated_zarr import EXPRESSED, N_GENES, write_zarr
from tests.perf.report import record
from tests.perf.table import print_table

pytestmark = pytest.mark.perf

CELLS = [int(n) for n in os.environ.get("PERF_CELLS", "100000,1000000").split(",")]
GOAL_GB = 2.0


def test_the_peak_of_memory_is_the_same_for_any_number_of_cells(tmp_path):
    rows, peaks = [], []
    for n in CELLS:
        cells, out = write_zarr(tmp_path / "cells.zarr", n), tmp_path / "store.zarr"
        done = subprocess.run(
            [sys.executable, embed_file.__file__, str(cells), "lazy", str(out)],
            capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": "src:."},
        )  # fmt: skip
        found = json.loads(done.stdout)
        stages = found["stages"]
        shares = [f"{stages[stage] / stages['all']:.0%}" for stage in ("read", "tokenise", "forward", "write")]
        rows.append((f"{n:,} cells", n / found["seconds"], *shares, found["opened"], found["peak"], f"<= {GOAL_GB}"))
        peaks.append(found["peak"])
        missing = ad.io.read_elem(zarr.open_group(out, mode="r")["obs"])["X_uce_missing"]
        assert len(missing) == n
        assert not missing.any()
        shutil.rmtree(out)
    header = ("", "cells/s", "read", "tokenise", "forward", "write", "GB opened", "GB at the peak", "goal")
    title = f"uce-mini from a zarr of {N_GENES:,} genes, about {EXPRESSED:,} of them in a cell, into a store"
    print_table(title, header, rows)
    record("million", title, header, rows)
    assert max(peaks) <= GOAL_GB
    more = CELLS[-1] - CELLS[0]
    print(f"  {more:,} more cells take {1000 * (peaks[-1] - peaks[0]):.0f} MB more at the peak")
    assert peaks[-1] - peaks[0] <= 0.1 + 500 * more / 1e9, "names and what is missing, but no counts and no embedding"

"""Memory that does not grow with the cells: a generated zarr, embedded from its blocks into a store.

``cells=100000,1000000`` are the numbers of cells that are compared; ``model=`` names the model, by default a generated
one that is so small that the forward pass is not what is waited for.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import zarr

from benchmarks.generated import EXPRESSED, N_GENES, write_cells
from benchmarks.measurement import Run, check
from univerce.genes.release.registry import BUNDLED_TABLES
from univerce.model import UCE, UCEConfig, save_model
from univerce.model.config import UCE_TINY

GOAL_GB = 2.0
STAGES = ("read", "tokenize", "forward", "write")


def small_model(directory: Path) -> str:
    config = UCEConfig(
        model_id="generated", token_dim=UCE_TINY.token_dim, token_encoder=UCE_TINY.token_encoder, d_model=64, n_heads=2,
        d_hidden=128, n_layers=1, output_dim=64, decoder_dim=64, gene_dim=64, head_dims=(64,), n_sample=64,
        sampling="systematic",
    )  # fmt: skip
    save_model(UCE(config), directory)
    (directory / "tables").symlink_to(BUNDLED_TABLES.resolve(), target_is_directory=True)
    return str(directory)


def command(cells: Path, out: Path, model: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.embed_file", str(cells), "lazy", str(out), model]


def embed(run: Run, cells: Path, out: Path, model: str) -> dict:
    done = subprocess.run(command(cells, out, model), capture_output=True, text=True, check=True, env=run.environment)
    return json.loads(done.stdout)


def embed_and_kill(run: Run, cells: Path, out: Path, model: str, least: int) -> int:
    """Kill a process once some blocks are written; how many there are then."""
    with subprocess.Popen(command(cells, out, model), stdout=subprocess.DEVNULL, env=run.environment) as process:
        while process.poll() is None and n_blocks(out) < least:
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it was killed"
        process.send_signal(signal.SIGKILL)
    return n_blocks(out)


def n_blocks(out: Path) -> int:
    """Blocks of the embedding on disk."""
    return sum(1 for _ in out.glob("obsm/X_uce/[0-9]*")) if out.exists() else 0


def main(run: Run) -> None:
    """Embed files of several sizes, and compare the peaks."""
    sizes = [int(n) for n in run.option("cells", "100000,1000000").split(",")]
    name = run.option("model")
    model, scratch = name or small_model(run.scratch()), run.scratch()
    rows, peaks = [], []
    for n in sizes:
        cells, out = write_cells(scratch / "cells.zarr", n), scratch / "store.zarr"
        found = embed(run, cells, out, model)
        stages = found["stages"]
        shares = [f"{stages[stage] / stages['all']:.0%}" for stage in STAGES]
        rows.append((f"{n:,} cells", n / found["seconds"], *shares, found["opened"], found["peak"], f"<= {GOAL_GB}"))
        peaks.append(found["peak"])
        root = zarr.open_group(out, mode="r")
        missing = ad.io.read_elem(root["obs"])["X_uce_missing"]
        assert len(missing) == n
        assert not missing.any()
        if n == min(sizes):
            again = scratch / "again.zarr"
            kept = embed_and_kill(run, cells, again, model, n // 500 // 3)
            embed(run, cells, again, model)
            np.testing.assert_array_equal(zarr.open_group(again, mode="r")["obsm/X_uce"][:], root["obsm/X_uce"][:])
            print(f"  killed with {kept} blocks of {n:,} cells on disk and begun again: the same bytes")
            shutil.rmtree(again)
        shutil.rmtree(out)
    header = ("", "cells/s", *STAGES, "GB opened", "GB at the peak", "goal")
    name = name or "a generated model of one layer of width 64"
    title = f"{name} from a zarr of {N_GENES:,} genes, about {EXPRESSED:,} of them in a cell, into a store"
    run.record("million", title, header, rows)
    check(ok=max(peaks) <= GOAL_GB, goal=f"peak of {GOAL_GB} GB")
    more = sizes[-1] - sizes[0]
    print(f"  {more:,} more cells take {1000 * (peaks[-1] - peaks[0]):.0f} MB more at the peak")
    check(ok=peaks[-1] - peaks[0] <= 0.1 + 500 * more / 1e9, goal="memory does not hold counts or embeddings")

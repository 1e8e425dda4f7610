"""A file of any length for the tutorial on a million cells, and a process that is watched and killed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import psutil
import zarr

import univerce as uc


def originals_and_query() -> tuple[ad.AnnData, ad.AnnData]:
    """The 700 blood cells that scanpy ships: 560 to copy, and 140 to search with."""
    published = uc.datasets.pbmc68k_reduced()
    kept = np.random.default_rng(0).permutation(published.n_obs) < 140
    return published[~kept].copy(), published[kept].copy()


def write_copies(path: Path, originals: ad.AnnData, n_cells: int, block: int = 10_000) -> None:
    """Write copies of the cells, block by block; a copy keeps a random half to all of the counts.

    All copies of a cell have the same of ten donors.
    """

    def copies(start: int) -> ad.AnnData:
        rng, stop = np.random.default_rng([1, start]), min(start + block, n_cells)
        counts = originals.X[np.arange(start, stop) % originals.n_obs]
        counts.data = rng.binomial(counts.data, np.repeat(rng.uniform(0.5, 1, stop - start), np.diff(counts.indptr)))
        counts.eliminate_zeros()
        return counts.astype(np.int32)

    root = zarr.open_group(path, mode="w", zarr_format=2)
    ad.io.write_elem(root, "/", ad.AnnData(copies(0), var=originals.var[[]]))
    matrix = ad.io.sparse_dataset(root["X"])
    for start in range(block, n_cells, block):
        matrix.append(copies(start))
    original = np.arange(n_cells) % originals.n_obs
    obs = pd.DataFrame(index=[f"cell {i}" for i in range(n_cells)])
    obs["cell_type"] = originals.obs["cell_type"].array[original]
    obs["donor"] = pd.Categorical([f"donor {i}" for i in original % 10])
    ad.io.write_elem(root, "obs", obs)
    zarr.consolidate_metadata(root.store)


def n_done(store: Path) -> int:
    """Blocks of a store that are done."""
    return len(list((store / "univerce-blocks").glob("*.sha256")))


def watch(script: str, cells: Path, store: Path, kill_after: float = np.inf) -> list[tuple[float, float]]:
    """Run a script in a process: seconds and megabytes of its memory. It is killed after some blocks."""
    begin, memory = time.perf_counter(), []
    process = subprocess.Popen([sys.executable, "-c", script, cells, store])
    while process.poll() is None:
        if used := psutil.Process(process.pid).memory_info().rss:  # none is left when it ends
            memory.append((time.perf_counter() - begin, used / 1e6))
        if n_done(store) >= kill_after:
            process.kill()
        time.sleep(0.02)
    return memory

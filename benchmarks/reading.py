"""Cells a second that are read and checked from files, beside unpacking the same chunks and nothing else."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numcodecs
import numpy as np
import zarr
from zarr.codecs import BloscCodec

from benchmarks.generated import counts, gene_names
from benchmarks.measurement import Run, check
from univerce._validate import check_counts
from univerce.io import chunks
from univerce.io.blocks import read_ahead
from univerce.io.pipeline import n_threads

N_CELLS, BLOCK_ROWS, TIMES, GOAL = 20_000, 500, 3, 50_000
SMALL, LARGE = 2**14, 2**20
HEADER = ("", f"CPU s per {N_CELLS:,} cells", "cells/s", "unpacking alone, cells/s")
FILES: dict[str, dict[str, Any]] = {
    "h5ad": {},
    "h5ad, gzip": {"compression": "gzip"},
    "zarr 2, Blosc, large chunks": {"zarr_format": 2, "chunks": LARGE, "compressors": numcodecs.Blosc()},
    "zarr 2, Blosc, small chunks": {"zarr_format": 2, "chunks": SMALL, "compressors": numcodecs.Blosc()},
    "zarr 3, Blosc, large chunks": {"zarr_format": 3, "chunks": LARGE, "compressors": BloscCodec()},
    "zarr 3, zstd, large chunks": {"zarr_format": 3, "chunks": LARGE},
    "zarr 3, zstd, small chunks": {"zarr_format": 3, "chunks": SMALL},
    "zarr 3, zstd, small chunks in shards": {"zarr_format": 3, "chunks": SMALL, "shards": LARGE},
}


def main(run: Run) -> None:
    """Write one matrix in each format and read it in blocks; the medians of a few times."""
    X, rows, slow = counts(0, N_CELLS), [], []
    adata = ad.AnnData(X)
    adata.var_names = gene_names()
    for what, options in FILES.items():
        matrix = write(run.scratch() / f"cells.{'zarr' if 'zarr_format' in options else 'h5ad'}", adata, options)
        wall, cpu = median(partial(read, matrix))
        alone = unpacking(matrix.group)
        limit = "" if alone is None else N_CELLS / median(alone)[0]
        rows.append((what, cpu, N_CELLS / wall, limit))
        slow += [what] if N_CELLS / wall < GOAL else []
    title = f"{N_CELLS:,} generated cells with {X.nnz / N_CELLS:,.0f} expressed genes; gzip by {chunks.zlib.__name__}"
    run.record("reading", title, HEADER, rows)
    check(ok=not slow, goal=f"{GOAL:,} cells/s from {', '.join(slow)}")


def write(path: Path, adata: ad.AnnData, options: dict[str, Any]) -> Any:
    """Write the cells and open their matrix."""
    if path.suffix == ".h5ad":
        adata.write_h5ad(path, **options)
        return ad.io.sparse_dataset(h5py.File(path)["X"])
    layout = options | {"chunks": (options["chunks"],), "shards": options.get("shards") and (options["shards"],)}
    group = zarr.open_group(path, mode="w", zarr_format=layout.pop("zarr_format"))
    ad.io.write_elem(group, "X", adata.X)
    for name in ("data", "indices"):
        values = group["X"][name][:]
        array = group["X"].create_array(name, shape=values.shape, dtype=values.dtype, overwrite=True, **layout)
        array[:] = values
    return ad.io.sparse_dataset(group["X"])


def read(matrix: Any) -> None:
    for _, block in read_ahead(matrix, BLOCK_ROWS):
        check_counts(block, where="X")


def unpacking(group: Any) -> Callable[[], None] | None:
    """Unpack all chunks of a matrix, which are in memory, in threads; ``None`` if it is not packed, or in shards."""
    arrays, n = [group["data"], group["indices"]], n_threads()
    if isinstance(group, zarr.Group):
        if arrays[0].shards is not None:
            return None
        blosc = "Blosc" in type(arrays[0].compressors[0]).__name__
        codec, size = numcodecs.Blosc() if blosc else numcodecs.Zstd(), arrays[0].chunks[0]
        files = [file for a in arrays for file in (a.store.root / a.path).rglob("*") if file.name.isdigit()]
        packed = [file.read_bytes() for file in files]
        unpack: Callable[[bytes, np.ndarray], Any] = codec.decode
    elif arrays[0].compression is None:
        return None
    else:
        size = arrays[0].chunks[0]
        packed = [a.id.read_direct_chunk((i,))[1] for a in arrays for i in range(0, len(a), size)]
        unpack = _inflate

    def some(first: int) -> None:
        buffer = np.empty(size, np.int32)
        for chunk in packed[first::n]:
            unpack(chunk, buffer)

    def work() -> None:
        with ThreadPoolExecutor(n) as pool:
            list(pool.map(some, range(n)))

    return work


def _inflate(chunk: bytes, _: np.ndarray) -> bytes:
    return chunks.zlib.decompress(chunk)


def median(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds, each the median of a few times."""
    taken = []
    for _ in range(TIMES):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = (statistics.median(seconds) for seconds in zip(*taken, strict=True))
    return wall, cpu

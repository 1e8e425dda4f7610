"""Run one job of ``python -m benchmarks paired`` in a fresh process and print as JSON what it took.

``python -m benchmarks.paired_jobs NAME SRC INPUTS KEPT``: SRC is the source tree that must be imported, INPUTS the
directory of the input files, KEPT that of the files of this tree. Only what all compared commits have is called.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

Work = Callable[[], object]
N_SENTENCES = 12


class Job(NamedTuple):
    """``prepare`` gets the inputs and a path to write to, and returns the work that is timed."""

    prepare: Callable[..., Work]
    inputs: tuple[str, ...] = ()
    often: int = 1
    """Factor of the number of turns, for what takes less than a second."""
    keeps: str | None = None
    """File that a run leaves for the next ones."""


def import_(out: Path, *, module: str) -> Work:
    return partial(importlib.import_module, module)


def tokenize(cells: Path, out: Path) -> Work:
    import anndata as ad

    import univerce as uc

    return partial(uc.pp.uce_tokenize, ad.read_h5ad(cells), "human", model="uce-tiny")


def embed(cells: Path, out: Path, *, how: str) -> Work:
    import anndata as ad

    import univerce as uc

    read = {"memory": ad.read_h5ad, "backed": partial(ad.read_h5ad, backed="r"), "lazy": ad.experimental.read_lazy}
    adata = read[how](cells)
    call = partial(uc.tl.uce_embed, species="human", model="uce-mini")
    call(adata[:20].to_memory())  # imports and compiles
    return partial(call, adata, store=None if how == "memory" else out)


def forward(cells: Path, model: Path, out: Path, *, precision: str) -> Work:
    import anndata as ad

    import univerce as uc

    uc.settings.precision = precision
    adata = ad.read_h5ad(cells, backed="r")[:N_SENTENCES].to_memory()
    return partial(uc.tl.uce_embed, adata, "human", model=model)


def build(parts: Path, out: Path) -> Work:
    import univerce as uc

    data = {path.stem: path for path in sorted(parts.iterdir())}
    return partial(uc.atlas.build, data, out, groupby="cell_type", min_counts=None, max_cells_per_dataset=None)


def open_(atlas: Path, out: Path) -> Work:
    import univerce as uc

    return partial(uc.atlas.open, atlas)


def average(atlas: Path, out: Path) -> Work:
    import univerce as uc

    return partial(uc.tl.centroids, uc.atlas.open(atlas), "cell_type", min_cells=1)


def search(atlas: Path, queries: Path, out: Path, *, method: str = "exact", keep: bool = False) -> Work:
    import anndata as ad

    import univerce as uc

    index = {} if method == "exact" else {"index": out.parents[1] / "ivf.index" if keep else out}
    return partial(uc.tl.search_atlas, ad.read_h5ad(queries), atlas, method=method, **index)


def label(atlas: Path, cells: Path, out: Path) -> Work:
    import anndata as ad

    import univerce as uc

    options = {"fit_options": {"method": "centroid", "max_cells": 200}, "groupby": "cell_type", "key_added": "type"}
    return partial(uc.tl.transfer_labels, ad.read_h5ad(cells), atlas, **options)


JOBS = {
    "import univerce": Job(partial(import_, module="univerce"), often=5),
    "import univerce.tl": Job(partial(import_, module="univerce.tl"), often=3),
    "tokenizer": Job(tokenize, ("cells.h5ad",)),
    "uce-mini, memory": Job(partial(embed, how="memory"), ("cells.h5ad",)),
    "uce-mini, h5ad": Job(partial(embed, how="backed"), ("cells.h5ad",)),
    "uce-mini, gzip h5ad": Job(partial(embed, how="backed"), ("cells.gzip.h5ad",)),
    "uce-mini, zarr": Job(partial(embed, how="lazy"), ("cells.zarr",)),
    "4 layers, float32": Job(partial(forward, precision="float32"), ("cells.h5ad", "network")),
    "4 layers, bfloat16": Job(partial(forward, precision="bfloat16"), ("cells.h5ad", "network")),
    "atlas, build from a fifth of the cells": Job(build, ("fifth",)),
    "atlas, open": Job(open_, ("atlas.zarr",), often=3),
    "centroids": Job(average, ("atlas.zarr",)),
    "search, exact": Job(search, ("atlas.zarr", "queries.h5ad")),
    "search, ivf of a fifth, with its build": Job(partial(search, method="ivf"), ("fifth.zarr", "queries.h5ad")),
    "search, ivf from a file": Job(
        partial(search, method="ivf", keep=True), ("atlas.zarr", "queries.h5ad"), keeps="ivf.index"
    ),
    "label transfer": Job(label, ("atlas.zarr", "labeled.h5ad")),
}  # fmt: skip


def main() -> None:
    """Prepare a job, run it, and print wall and CPU seconds of the work and the peak of the resident memory in GB."""
    name, src, inputs, kept = sys.argv[1:]
    job, out = JOBS[name], Path(kept) / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    work = job.prepare(*(Path(inputs) / file for file in job.inputs), out / "result")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    figures = [time.perf_counter() - wall, time.process_time() - cpu]
    from benchmarks.measurement import memory

    figures.append(memory("VmHWM"))
    univerce = sys.modules["univerce"]
    assert Path(src) in Path(univerce.__file__).parents, univerce.__file__
    shutil.rmtree(out)
    print(json.dumps([round(figure, 4) for figure in figures]))


if __name__ == "__main__":
    main()

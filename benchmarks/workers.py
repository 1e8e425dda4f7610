"""A sentence model on one and on two dask workers of one thread: speed and bytes.

``cells=4000 turns=3``; the two clusters take turns, and so does a bare product, which shows what the cores give.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch

import univerce as uc
from benchmarks.generated import write_cells
from benchmarks.measurement import Run, check

HEADER = ("", "1 worker", "2 workers", "speed-up", "goal")
MODEL = "uce-tiny"


def main(run: Run) -> None:
    """Print the table; the bytes must be the same."""
    n_cells, turns = int(run.option("cells", "4000")), int(run.option("turns", "3"))
    measure(run, write_cells(run.scratch() / "cells.h5ad", n_cells), turns)


def measure(run: Run, cells: Path, turns: int) -> None:
    """Embed a file and multiply matrices on clusters of one and of two workers, in turns."""
    from distributed import Client, LocalCluster

    seconds: dict[str, list[list[float]]] = {"embed": [], "product": []}
    with contextlib.ExitStack() as stack:
        clients = []
        for n in (1, 2):
            cluster = LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None)
            clients.append(stack.enter_context(Client(stack.enter_context(cluster))))
        adata = ad.read_h5ad(cells, backed="r")
        stack.callback(adata.file.close)
        expected = [_embed(adata, client)[1] for client in clients]  # every worker loads the model
        for _ in range(turns):
            took = [_embed(adata, client) for client in clients]
            seconds["embed"].append([s for s, _ in took])
            expected += [values for _, values in took]
            seconds["product"].append([_timed(lambda c=client: _products(c)) for client in clients])
        n_cells = adata.n_obs
    check(ok=all(values == expected[0] for values in expected), goal="the bytes do not depend on the workers")
    rows = []
    for what, unit, goal in (("embed", n_cells, ">= 1.7"), ("product", 0, "")):
        one, two = np.median(seconds[what], axis=0)
        speed_up = float(np.median([a / b for a, b in seconds[what]]))
        name = f"uc.tl.uce_embed with {MODEL}, {n_cells:,} cells, cells/s" if unit else "products of matrices, s"
        figures = (unit / one, unit / two) if unit else (float(one), float(two))
        rows.append((name, *map(float, figures), speed_up, goal))
    run.record("workers", "Dask workers of one thread, median of turns; the bytes are the same", HEADER, rows)


def _embed(adata: ad.AnnData, client: Any) -> tuple[float, bytes]:
    begin = time.perf_counter()
    uc.tl.uce_embed(adata, species="human", model=MODEL, client=client)
    return time.perf_counter() - begin, adata.obsm["X_uce"].tobytes()


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _products(client: Any, n: int = 8) -> None:
    client.gather(client.map(_product, range(n), pure=False))


def _product(_: int) -> float:
    a = torch.ones(512, 512)
    for _ in range(150):
        a = torch.nn.functional.linear(a, a).clamp_(max=1)
    return float(a.sum())

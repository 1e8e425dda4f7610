"""The compressed index of large generated atlases, measured at some sizes and extrapolated to 36 million cells.

``cells=1000000,4000000`` are the sizes, ``queries=`` the number of queries. ``dir=`` keeps atlases, parts of the build
and what was measured of it, so that a repeated call goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.atlas import DIMS, GOAL_MS, GOAL_RECALL, Cells, K
from benchmarks.measurement import Run, memory
from univerce import atlas
from univerce.embeddings.index import build_index, read_index, tune, write_index
from univerce.embeddings.neighbors import QUERY_ROWS, exact_neighbors, recall, rerank

TARGET, SAMPLE = 36_000_000, 256
LAWS = {
    "training, CPU s": lambda n: n,  # rows of the sample and lists both grow as the square root
    "encoding, CPU s": lambda n: n**1.5,  # each row is compared with each list
    "GB on disk": lambda n: n,
    "GB of the embedding": lambda n: n,
    # The sample of the training; the codes of all rows, twice while lists grow, take less.
    "GB in memory, build": lambda n: n**0.5,
    "GB in memory, search": lambda n: n,
    "lists searched": lambda n: n**0.5,  # the same part of all lists
    "candidates, CPU ms a query": lambda n: n**0.5,  # centers of lists, and as many more rows
    "a pass over the embedding, CPU s": lambda n: n,
}


def main(run: Run) -> None:
    """Build, search and extrapolate."""
    sizes = [int(n) for n in str(run.option("cells", "1000000,4000000")).split(",")]
    directory, n_queries = Path(str(run.option("dir", str(run.scratch())))), int(str(run.option("queries", "10000")))
    found = [_measure(n, directory, n_queries) for n in sizes]
    last = found[-1]
    there = {name: law(TARGET) / law(sizes[-1]) * last[name] for name, law in LAWS.items()}
    there["CPU ms a query"] = (
        there["candidates, CPU ms a query"]
        + last["comparing candidates, CPU ms a query"]
        + 1000 * there["a pass over the embedding, CPU s"] / QUERY_ROWS
    )
    run.record(
        "compressed",
        f"A compressed index of generated cells, {DIMS:,} dimensions, {K} neighbors; the last column is extrapolated "
        f"from the one before (goal: <= {GOAL_MS} ms a query on 2 cores, recall >= {GOAL_RECALL}, <= 16 GB)",
        ("", *(f"{n:,} cells" for n in sizes), f"{TARGET:,} cells"),
        [(name, *(each[name] for each in found), there.get(name, "")) for name in last],
    )


def _measure(n: int, directory: Path, n_queries: int) -> dict[str, float]:
    path, file, parts = (directory / f"{n}.{end}" for end in ("zarr", "index", "parts"))
    cells = Cells(n)
    if not path.exists():
        cells.write(path)
    rep = atlas.open(path).obsm["X_uce"]
    notes = directory / f"{n}.json"
    if not notes.exists():
        notes.write_text(json.dumps(_build(rep, file, parts)))
    out: dict[str, float] = json.loads(notes.read_text())
    index = read_index(file, kind="compressed", digest="generated", reference=rep)
    assert index is not None
    queries = cells.draw(n_queries, 10**9)[1].astype(np.float32)
    exact, _ = exact_neighbors(queries[: 2 * SAMPLE], rep, K)
    effort, _ = tune(index, queries[:SAMPLE], exact[:SAMPLE], target=GOAL_RECALL)
    _reset_peak()
    candidates, seconds = _cpu(lambda: index.candidates(queries, K, effort=effort))
    few = index.candidates(queries[:SAMPLE], K, effort=effort)
    _, whole = _cpu(lambda: rerank(queries, rep, candidates, K))
    _, part = _cpu(lambda: rerank(queries[:SAMPLE], rep, few, K))  # reads as much
    compare = (whole - part) / (n_queries - SAMPLE)
    reading = part - SAMPLE * compare
    indices, _ = index.search(queries[SAMPLE : 2 * SAMPLE], K, effort=effort)
    out |= {
        "GB in memory, search": memory("RssAnon"),
        "lists": index.max_effort,
        "lists searched": effort,
        "recall": recall(indices, exact[SAMPLE:]),
        "candidates, CPU ms a query": 1000 * seconds / n_queries,
        "comparing candidates, CPU ms a query": 1000 * compare,
        "a pass over the embedding, CPU s": reading,
        "CPU ms a query": 1000 * (seconds / n_queries + compare + reading / QUERY_ROWS),
    }
    return out


def _build(rep: Any, file: Path, parts: Path) -> dict[str, float]:
    """Build an index, and measure it; parts of an interrupted build were measured when they were written."""
    notes = parts.with_suffix(".parts.json")
    before: list[list[float]] = json.loads(notes.read_text()) if notes.exists() else []
    now: list[list[float]] = []
    begun = time.process_time()

    def done(_: int) -> None:
        now.append([time.process_time(), memory("VmHWM")])
        if len(now) > len(before):
            before.append([now[-1][0] - (now[-2][0] if len(now) > 1 else begun), now[-1][1]])
            notes.write_text(json.dumps(before))

    _reset_peak()
    index = build_index(rep, "compressed", parts=parts, done=done)
    write_index(file, index, digest="generated")
    seconds = np.array(before)[:, 0]
    part = float(np.median(seconds[1:])) if len(seconds) > 1 else 0.0  # the first is after the training
    return {
        "training, CPU s": float(seconds[0]) - part,
        "encoding, CPU s": float(seconds[1:].sum()) + part,
        "GB on disk": file.stat().st_size / 1e9,
        "GB of the embedding": rep.size * 2 / 1e9,
        "GB in memory, build": max(memory("VmHWM"), *np.array(before)[:, 1]),
    }


def _cpu(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    return work(), time.process_time() - begin


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")

"""Stages and memory of ``uc.tl.uce_embed`` in a fresh process, for a model of the size of uce-4l.

``base=COMMIT`` also measures an earlier commit, ``turns=3``; writes ``startup.md`` and ``startup.png`` to ``--docs``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.measurement import Run, check
from benchmarks.paired import ROOT, compile_sources, source
from benchmarks.release import generated_cells, make_model

N_CELLS = 64
PRECISIONS = ("float32", "bfloat16")
STAGES = ("imports", "torch, genes and weights", "encoding of tokens", "forward pass")
START = "start without encoding"
Figures = dict[str, float]


def main(run: Run) -> None:
    """Embed in both precisions, which must agree, in turns."""
    scratch, base = run.scratch(), run.option("base")
    model, cells = make_model(scratch), scratch / "cells.h5ad"
    generated_cells(N_CELLS).write_h5ad(cells)
    trees = {"": ROOT / "src"} if base is None else {"before, ": source(base, scratch / base), "after, ": ROOT / "src"}
    compile_sources(trees.values())
    figures: dict[str, list[Figures]] = {f"{tree}{p}": [] for tree in trees for p in PRECISIONS}
    embeddings = {}
    for _ in range(int(run.option("turns", "3") or 3)):
        for tree, src in trees.items():
            for precision in PRECISIONS:
                out = scratch / "embedding.npy"
                figures[f"{tree}{precision}"].append(_embed(run, src, model, cells, precision, out))
                embeddings[precision] = np.load(out)
    seconds = {name: {key: float(np.median([f[key] for f in turns])) for key in turns[0]}
               for name, turns in figures.items()}  # fmt: skip
    header = ("", *STAGES, START, "peak, GB")
    rows = [(name, *(found[key] for key in header[1:])) for name, found in seconds.items()]
    rows.append(("goal", *[""] * len(STAGES), "<= 4", "<= 1.2"))
    run.record("startup", f"Seconds to embed {N_CELLS} cells in a fresh process, 4 layers, median", header, rows)
    if run.docs is not None:
        draw(seconds, run.docs / "startup.png")
    cosine = np.sum(embeddings["float32"] * embeddings["bfloat16"], axis=1)
    check(ok=cosine.min() >= 0.999, goal="bfloat16 agrees with float32")


def _embed(run: Run, src: Path, model: Path, cells: Path, precision: str, out: Path) -> Figures:
    words = (sys.executable, "-m", "benchmarks.embed_process", model, cells, precision, out, time.time())
    env = run.environment | {"PYTHONPATH": f"{src}:{ROOT}"}
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=True, env=env)
    found = json.loads(done.stdout)
    start = found["first_forward"] - found["encoding"]
    stages = (found["imports"], start - found["imports"], found["encoding"], found["forward"])
    return {**dict(zip(STAGES, stages, strict=True)), START: start, "peak, GB": found["peak"]}


def draw(seconds: dict[str, Figures], path: Path) -> None:
    """Stacked bars."""
    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, ax = plt.subplots(figsize=(6.4, 0.8 + 0.3 * len(seconds)), layout="constrained")
        left = np.zeros(len(seconds))
        for stage, color in zip(STAGES, ("#bbbbbb", "#ccbb44", "#ee6677", "#4477aa"), strict=True):
            width = np.array([found[stage] for found in seconds.values()])
            ax.barh(list(seconds), width, left=left, color=color, label=stage, height=0.6)
            left += width
        ax.invert_yaxis()
        ax.set_xlabel(f"seconds for {N_CELLS} cells")
        figure.legend(frameon=False, loc="outside lower center", ncols=len(STAGES))
        figure.savefig(path, dpi=150)
        plt.close(figure)

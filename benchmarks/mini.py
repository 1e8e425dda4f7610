"""Speed of ``uce-mini``, and how much of an embedding of ``uce-tiny`` is the luck of the draw."""

from __future__ import annotations

import time

import numpy as np

import univerce as uc
from benchmarks.measurement import Run, check, print_table
from benchmarks.release import generated_cells

GOAL = 10_000


def main(run: Run) -> None:
    """Measure speed and agreement."""
    speed()
    agreement()


def embedding(adata, **options) -> np.ndarray:
    return uc.tl.uce_embed(adata, species="human", copy=True, **options).obsm["X_uce"]


def speed() -> None:
    pbmc = uc.datasets.pbmc68k_reduced()
    symbols = uc.genes.load_table("human").obs["symbol"]
    names = symbols[(symbols != "") & ~symbols.duplicated()].tolist()
    generated = generated_cells(20_000, names, expressed=2000)
    before = embedding(pbmc[:20])  # imports and compiles
    table = []
    for what, adata in (("blood cells", pbmc), ("generated", generated)):
        begin = time.perf_counter()
        after = embedding(adata)
        seconds = time.perf_counter() - begin
        expressed = float(np.diff(adata.X.indptr).mean())
        table.append((what, adata.n_obs, expressed, seconds, adata.n_obs / seconds, f">= {GOAL}"))
        if adata is pbmc:
            np.testing.assert_allclose(after[:20], before, atol=1e-6)
    print_table(
        "uc.tl.uce_embed with uce-mini, all of the call", ("", "cells", "genes a cell", "s", "cells/s", "goal"), table
    )


def agreement() -> None:
    pbmc = uc.datasets.pbmc68k_reduced()
    types = pbmc.obs["cell_type"].to_numpy()
    i, j = np.triu_indices(pbmc.n_obs, 1)
    same = types[i] == types[j]
    table, mean = [], {}
    for sampling in ("multinomial", "systematic"):
        for n_draws in (1, 4, 8):
            a, b = (embedding(pbmc, model="uce-tiny", sampling=sampling, n_draws=n_draws, rng=seed) for seed in (0, 1))
            seeds, pairs = np.sum(a * b, axis=1), np.sum(a[i] * b[j], axis=1)
            mean[sampling, n_draws] = seeds.mean()
            table.append((sampling, n_draws, *(f"{x:.4f}" for x in (
                seeds.mean(), seeds.std(), seeds.min(), pairs[same].mean(), pairs[~same].mean()
            ))))  # fmt: skip
    print_table(
        "uce-tiny, 700 blood cells: cosine of the embeddings with two seeds",
        ("sampling", "draws", "same cell", "sd", "lowest", "same type", "other type"),
        table,
    )
    for sampling in ("multinomial", "systematic"):
        check(ok=mean[sampling, 8] > mean[sampling, 1], goal="more draws bring two seeds closer")

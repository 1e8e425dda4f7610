"""Cells a second of the tokenizer."""

from __future__ import annotations

import time

import numpy as np
import scipy.sparse as sp

from benchmarks.measurement import Run, print_table
from benchmarks.release import generated_cells
from univerce.inference.sentences import GenomeOrder, cell_keys, tokenize

N_GENES, N_SAMPLE, GOAL = 18_000, 1024, 10_000


def main(run: Run) -> None:
    """Tokenize with one thread and with two, which gives the same sentences."""
    some = generated_cells(250, [f"GENE{i}" for i in range(N_GENES)]).X
    counts = sp.vstack([some] * 32, format="csr")
    rng = np.random.default_rng(0)
    chromosome, start = rng.integers(0, 24, N_GENES), rng.integers(1, 10**8, N_GENES)
    order, rows = GenomeOrder.build(chromosome, start), np.arange(N_GENES, dtype=np.int32)
    keys = cell_keys([str(i) for i in range(counts.shape[0])], seed=0)

    begin = time.perf_counter()
    for cell in range(100):
        _plainly(counts[cell], chromosome, start, rng)
    plain = 100 / (time.perf_counter() - begin)
    table = [("numpy, one cell at a time", 1, plain, 1.0, "", "")]
    for sampling in ("multinomial", "systematic"):
        sentences, speeds = {}, {}
        for threads in (1, 2):
            seconds = []
            for _ in range(4):  # the first compiles
                begin = time.perf_counter()
                sentences[threads] = tokenize(
                    counts, rows, order, keys, n_sample=N_SAMPLE, sampling=sampling, threads=threads
                )
                seconds.append(time.perf_counter() - begin)
            speeds[threads] = counts.shape[0] / min(seconds)
            goal = f">= {GOAL:,} cells/s" if threads == 1 else "~2x one thread"
            table.append(
                (sampling, threads, speeds[threads], speeds[threads] / plain, speeds[threads] / speeds[1], goal)
            )
        np.testing.assert_array_equal(sentences[1].ids, sentences[2].ids)
    expressed = np.diff(counts.indptr).mean()
    print_table(
        f"Tokenizer: {N_GENES:,} genes, {expressed:,.0f} expressed, {N_SAMPLE:,} draws",
        ("sampling", "threads", "cells/s", "x numpy", "x one thread", "goal"),
        table,
    )


def _plainly(row: sp.csr_matrix, chromosome: np.ndarray, start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The draws of one cell in genome order, as one would write it with numpy."""
    weights = np.log1p(row.toarray()[0])
    drawn = rng.choice(len(weights), N_SAMPLE, p=weights / weights.sum())
    place = rng.permutation(24)[chromosome[drawn]]
    return drawn[np.lexsort((start[drawn], place))]

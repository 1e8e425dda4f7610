"""Counts of tiny cells and their sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from tests.helpers.tiny import CONFIG
from univerce.inference.inputs import Drawing, Genes, Inputs
from univerce.inference.sentence_blocks import draw_sentences
from univerce.inference.sentences import Sentences, cell_keys, tokenize

DRAWING = Drawing(seed=3, sampling="multinomial", n_sample=CONFIG.n_sample, max_length=CONFIG.max_length)
EMPTY = (0, 7, 26, 59)
N = 60


def counts(genes: Genes, n: int = N, *, seed: int = 0, empty: tuple[int, ...] = EMPTY) -> sp.csr_matrix:
    """Cells that express from few to all genes, so that sentences differ in length."""
    rng = np.random.default_rng(seed)
    X = rng.poisson(rng.gamma(0.3, 1, (n, len(genes.rows)))) * (rng.random((n, 1)) > rng.random((n, len(genes.rows))))
    X[:, 1] += 1
    X[list(empty), : np.sum(genes.rows >= 0)] = 0
    return sp.csr_matrix(X.astype(np.float32))


def names(n: int = N) -> np.ndarray:
    return np.array([f"cell {i}" for i in range(n)], dtype=object)


def inputs(genes: list[Genes], X: Any, *, species: Any = None, drawing: Drawing = DRAWING) -> Inputs:
    """Inputs without AnnData and model."""
    n = X.shape[0]
    model: Any = None
    return Inputs(
        X=X, where="adata.X", names=names(n), species=np.zeros(n, int) if species is None else species, genes=genes,
        drawing=drawing, model=model, space=model, model_name="",
    )  # fmt: skip


def prepared(genes: list[Genes], X: Any, block_rows: int = 16, **options: Any) -> list[Any]:
    """All blocks of sentences."""
    given = {name: options.pop(name) for name in ("species", "drawing") if name in options}
    return list(draw_sentences(inputs(genes, X, **given), block_rows, **options))


def drawn(genes: Genes, **options: Any) -> Sentences:
    """The sentences of ``counts``."""
    X = counts(genes, **options)
    keys = cell_keys(names(X.shape[0]), DRAWING.seed)
    return tokenize(X, genes.rows, genes.order(), keys, n_sample=DRAWING.n_sample, max_length=DRAWING.max_length)

"""Toy data sets, a small network and a short training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import scipy.sparse as sp

from tests.helpers.toy import toy_table
from univerce.model import PretrainConfig, TrainingSet, UCEConfig

TABLE = toy_table(40, 4, token_dim=10)
OTHER = toy_table(30, 3, token_dim=10, seed=1, species="other")
MODEL = UCEConfig(
    model_id="toy", token_dim=10, token_encoder="toy", d_model=16, n_heads=2, d_hidden=24, n_layers=2, output_dim=12,
    decoder_dim=16, gene_dim=12, head_dims=(16, 8), dropout=0.1, n_sample=30, max_length=64, sampling="systematic",
)  # fmt: skip
RECIPE = PretrainConfig(
    steps=6, batch_size=8, n_queries=8, warmup=2, held_out=0.2, evaluate_every=3, checkpoint_every=2, autocast=False
)


def two_types(name: str, table: ad.AnnData, n_cells: int = 120, *, seed: int = 0) -> TrainingSet:
    """Cells of two types, each with its own half of the genes on."""
    rng = np.random.default_rng(seed)
    first = rng.random(n_cells) < 0.5
    on = first[:, None] == (np.arange(table.n_obs) % 2 == 0)
    counts = rng.poisson(np.where(on, 3.0, 0.1)).astype(np.float32)
    return TrainingSet(name, sp.csr_matrix(counts), np.arange(table.n_obs, dtype=np.int32), table)


SETS = [two_types("one", TABLE), two_types("other", OTHER, seed=1)]


def on_disk(sets: list[TrainingSet], directory: Path) -> list[TrainingSet]:
    """The data sets with their counts in files."""
    moved = []
    for s in sets:
        ad.AnnData(s.counts).write_h5ad(directory / f"{s.name}.h5ad")
        moved.append(replace(s, counts=ad.read_h5ad(directory / f"{s.name}.h5ad", backed="r").X))
    return moved

"""Simulated gene tables and counts, small enough to check by hand."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce.genes.table import make_table


def toy_genes(n_genes: int = 30, n_chromosomes: int = 4, *, seed: int = 0) -> pd.DataFrame:
    """Genes on chromosomes of different size, at least one on each, some with the same start."""
    rng = np.random.default_rng(seed)
    uneven = 1 / np.arange(1, n_chromosomes + 1)
    rest = rng.choice(n_chromosomes, size=n_genes - n_chromosomes, p=uneven / uneven.sum())
    chromosome = rng.permutation(np.concatenate([np.arange(n_chromosomes), rest]))
    return pd.DataFrame(
        {
            "symbol": [f"GENE{i}" for i in range(n_genes)],
            "ensembl_id": [f"ENS{i:05d}" for i in range(n_genes)],
            "chromosome": [f"chr{c}" for c in chromosome],
            "start": rng.integers(1, max(2, n_genes // 2), n_genes),
            "chromosome_code": 3 * chromosome + 5,
        }
    )


def toy_table(
    n_genes: int = 30, n_chromosomes: int = 4, *, token_dim: int = 8, species: str = "toy", seed: int = 0
) -> ad.AnnData:
    """A gene table of :func:`toy_genes` with random features."""
    rng = np.random.default_rng([seed, 1])
    special = rng.normal(size=(4, token_dim)).astype(np.float32)
    special[0] = 0
    return make_table(
        toy_genes(n_genes, n_chromosomes, seed=seed),
        rng.normal(size=(n_genes, token_dim)).astype(np.float32),
        species=species,
        encoder="toy",
        source="simulated",
        special_features=special,
        chromosome_names=[f"chr{c}" for c in range(n_chromosomes)],
        chromosome_codes=3 * np.arange(n_chromosomes) + 5,
        chromosome_features=rng.normal(size=(n_chromosomes, token_dim)).astype(np.float32),
    )


def toy_counts(n_cells: int, n_genes: int, *, seed: int = 0, rate: float = 1.0) -> sp.csr_matrix:
    """Overdispersed float32 counts with many zeros."""
    rng = np.random.default_rng([seed, 2])
    mean = rate * np.exp(rng.normal(-0.5, 1.5, n_genes))
    return sp.csr_matrix(rng.poisson(mean * rng.gamma(1, size=(n_cells, n_genes))).astype(np.float32))

"""Shuffled cells: counts permuted over the genes, as deep and as sparse as real cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import scipy.sparse as sp

from univerce.embeddings.space import Space
from univerce.inference.embed import embed_inputs, load_embedders
from univerce.inference.embedder import Embedder
from univerce.inference.inputs import Inputs, resolve_inputs
from univerce.inference.recorded_model import recorded_model
from univerce.inference.sentences import cell_keys

_DRAW = -3


def shuffle_counts(counts: sp.csr_matrix, columns: np.ndarray, keys: np.ndarray) -> sp.csr_matrix:
    """Permute the counts of each cell over ``columns``, seeded by its key; other columns become zero."""
    kept = sp.csr_matrix(counts[:, columns])
    kept.eliminate_zeros()
    indices = np.empty(len(kept.indices), dtype=np.int64)
    for cell, key in enumerate(keys):
        mine = slice(kept.indptr[cell], kept.indptr[cell + 1])
        drawn = np.random.default_rng(int(key)).permutation(len(columns))
        indices[mine] = columns[drawn[kept.indices[mine]]]
    out = sp.csr_matrix((kept.data, indices, kept.indptr), shape=counts.shape)
    out.sort_indices()
    return out


def embed_shuffled(
    adata: ad.AnnData, rows: np.ndarray, space: Space, use_rep: str, model: str | Path | None, *, seed: int
) -> np.ndarray:
    """Embed shuffled cells ``[n_rows, n_dims]`` as the real ones were embedded."""
    name, _ = recorded_model(space, model, use_rep)
    inputs = resolve_inputs(adata[rows].to_memory(), model=name, mod=None, **space.embed_options())
    space.check_same(inputs.space, use_rep)
    inputs = replace(inputs, X=_shuffle(inputs, seed), where="shuffled counts")
    return embed_inputs(inputs, load_embedders(inputs, Embedder))


def _shuffle(inputs: Inputs, seed: int) -> sp.csr_matrix:
    """Shuffle over the genes of each species."""
    keys = cell_keys(inputs.names, seed, draw=_DRAW)
    counts = sp.csr_matrix(inputs.X)
    out = sp.csr_matrix(counts.shape, dtype=counts.dtype)
    for k, genes in enumerate(inputs.genes):
        mine = sp.csr_matrix(counts.multiply((inputs.species == k)[:, None]))
        out = out + shuffle_counts(mine, np.flatnonzero(genes.rows >= 0), keys)
    return sp.csr_matrix(out)

"""Cells whose counts were dealt out anew among the genes: as deep and as sparse as real ones, and no cells at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scipy.sparse as sp

from univerce.embeddings.space import recorded_params
from univerce.inference.inputs import Inputs, resolve_inputs
from univerce.inference.recorded import recorded_model
from univerce.inference.tokens import cell_keys
from univerce.tl.uce_embed import uce_embed

_DRAW = -3


def shuffle_counts(counts: sp.csr_matrix, columns: np.ndarray, keys: np.ndarray) -> sp.csr_matrix:
    """Counts of each cell permuted over some of the columns, by the cell's own random stream.

    Parameters
    ----------
    counts
        ``[n_cells, n_vars]``.
    columns
        ``[n_columns]`` columns that take part; the others become zero.
    keys
        ``[n_cells]`` seeds of the cells.

    Returns
    -------
    Matrix of the same shape.
    """
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
    adata: ad.AnnData, rows: np.ndarray, use_rep: str, model: str | Path | None, *, seed: int
) -> np.ndarray:
    """Embeddings ``[n_rows, n_dims]`` of shuffled cells, made as those of the real ones were.

    Raises
    ------
    KeyError
        When nothing is recorded of the embedding, or its layer is gone.
    ValueError
        When the model is not the one that made the embedding, or there are no counts.
    """
    params = recorded_params(adata, "adata", use_rep)
    name, _ = recorded_model(params, model, use_rep)
    cells = adata[rows].to_memory()
    options = _options(params, name)
    inputs = resolve_inputs(cells, mod=None, rng=int(params.get("seed", 0)), **options)
    shuffled = ad.AnnData(_shuffle(inputs, cells, seed), obs=cells.obs, var=cells.var, uns={
        key: cells.uns[key] for key in ("organism", "species", "organism_ontology_term_id") if key in cells.uns
    })  # fmt: skip
    uce_embed(shuffled, rng=int(params.get("seed", 0)), key_added="shuffled", **options | {"layer": None})
    return np.asarray(shuffled.obsm["shuffled"])


def _options(params: Mapping[str, Any], model: str | Path) -> dict[str, Any]:
    """Arguments of :func:`univerce.tl.uce_embed` from what it recorded."""
    species = [str(name) for name in np.atleast_1d(params["species"])]
    layer, keys = str(params.get("layer", "X")), {str(key) for key in params.get("gene_key", {}).values()}
    gene_key = keys.pop() if len(keys) == 1 else "var_names"
    return {
        "species": species[0] if len(species) == 1 else None,
        "model": model,
        "layer": None if layer == "X" else layer,
        "gene_key": None if gene_key == "var_names" else gene_key,
        "sampling": str(params["sampling"]) if "sampling" in params else None,
        "n_draws": int(params.get("n_draws", 1)),
    }


def _shuffle(inputs: Inputs, cells: ad.AnnData, seed: int) -> sp.csr_matrix:
    keys = cell_keys(inputs.names, seed, draw=_DRAW)
    counts = sp.csr_matrix(inputs.X)
    out = sp.csr_matrix(counts.shape, dtype=counts.dtype)
    for k, genes in enumerate(inputs.genes):
        mine = np.flatnonzero(inputs.species == k)
        ones = np.ones(len(mine), dtype=counts.dtype)
        place = sp.csr_matrix((ones, (mine, np.arange(len(mine)))), shape=(cells.n_obs, len(mine)))
        out = out + place @ shuffle_counts(counts[mine], np.flatnonzero(genes.rows >= 0), keys[mine])
    return sp.csr_matrix(out)

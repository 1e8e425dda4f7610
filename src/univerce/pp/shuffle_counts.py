"""Shuffle the counts of each cell over the genes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
from scipy import sparse

from univerce._docs import document
from univerce._validate import as_seed, check_adata, get_counts, get_modality
from univerce.genes.load import BUNDLED_MODEL, available_species
from univerce.genes.resolve import resolve_genes
from univerce.genes.species_of import SpeciesLike, species_of
from univerce.inference.sentences import cell_keys
from univerce.io.blocks import read_all

if TYPE_CHECKING:
    from mudata import MuData

_DRAW = -3


@document
def shuffle_counts(
    adata: ad.AnnData | MuData,
    species: SpeciesLike = None,
    *,
    model: str | Path | None = None,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    rng: int | np.random.Generator = 0,
) -> ad.AnnData:
    """Permute the counts of each cell over the genes of a model, as in Rosen et al. 2026.

    Shuffled cells have the depth and sparsity of real cells, but no cell type expresses such a combination of genes.
    Embed them to test whether a score such as :func:`univerce.tl.ood_score` separates them from real cells.

    Parameters
    ----------
    adata
        AnnData with raw counts, or MuData.
    %(species, model, gene_key, mod, layer)s
    rng
        Seed or generator. The permutation of a cell depends on it and on the name of the cell.

    Returns
    -------
    A new AnnData with the shuffled counts in ``X`` (CSR), ``obs`` and ``var``. Variables without a gene have no counts.

    Raises
    ------
    ValueError
        If the values are not counts, the species is missing or unknown, or no variable is a gene.
    KeyError
        If ``layer``, ``gene_key`` or ``mod`` does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.datasets.pbmc68k_reduced()
    >>> reference, query = cells[:500].copy(), cells[500:].copy()
    >>> shuffled = uc.pp.shuffle_counts(query)
    >>> for adata in (reference, query, shuffled):
    ...     uc.tl.uce_embed(adata)
    >>> for adata in (query, shuffled):
    ...     uc.tl.ood_score(adata, reference)
    >>> bool(query.obs["ood_score"].median() < shuffled.obs["ood_score"].median())
    True
    """
    data = adata
    adata = get_modality(data, mod)
    check_adata(adata)
    seed = as_seed(rng)
    model = BUNDLED_MODEL if model is None else model
    keys, tables = species_of(adata, species, known=available_species(model), within=data)
    resolved = resolve_genes(adata, keys, model, layer=layer, gene_key=gene_key, tables=tables)
    names = adata.obs_names.to_numpy(dtype=object)
    mine = np.full(adata.n_obs, keys) if isinstance(keys, str) else np.asarray(keys)

    X, var = get_counts(adata, layer)
    counts = read_all(X)
    shuffled = sparse.csr_matrix(counts.shape, dtype=counts.dtype)
    for name, found in resolved.items():
        part = sparse.csr_matrix(counts.multiply((mine == name)[:, None]))
        shuffled = shuffled + permuted(part, np.flatnonzero(found.rows >= 0), cell_keys(names, seed, draw=_DRAW))
    return ad.AnnData(
        sparse.csr_matrix(shuffled), obs=adata.obs.copy(), var=var.copy(),
        uns={key: adata.uns[key] for key in ("organism", "species", "organism_ontology_term_id") if key in adata.uns},
    )  # fmt: skip


def permuted(counts: sparse.csr_matrix, columns: np.ndarray, keys: np.ndarray) -> sparse.csr_matrix:
    """Permute the counts of each cell over ``columns``, seeded by its key; other columns become zero."""
    kept = sparse.csr_matrix(counts[:, columns])
    kept.eliminate_zeros()
    indices = np.empty(len(kept.indices), dtype=np.int64)
    for cell, key in enumerate(keys):
        mine = slice(kept.indptr[cell], kept.indptr[cell + 1])
        drawn = np.random.default_rng(int(key)).permutation(len(columns))
        indices[mine] = columns[drawn[kept.indices[mine]]]
    out = sparse.csr_matrix((kept.data, indices, kept.indptr), shape=counts.shape)
    out.sort_indices()
    return out

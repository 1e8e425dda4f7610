"""Map the variables of a data set to genes of the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd

from univerce._validate import check_counts, get_layer, layer_name
from univerce.genes.bundled_names import bundled_names
from univerce.genes.coverage import Coverage, coverage
from univerce.genes.load import load_table
from univerce.genes.lookup import NameMapping, map_names
from univerce.io.blocks import iter_blocks, n_blocks

logger = logging.getLogger("univerce")

# Columns of var that often hold gene names, tried if var_names do not.
GENE_COLUMNS = (
    "ensembl_id", "gene_ids", "gene_id", "feature_id", "feature_name", "gene_symbol", "gene_symbols", "gene_name",
    "gene_names", "symbol", "_index", "index",
)  # fmt: skip
_BLOCK_ROWS = 250
_SAMPLED_ROWS = 10_000


class ResolvedGenes(NamedTuple):
    """The genes of one species in a data set."""

    table: ad.AnnData
    rows: np.ndarray
    """``[n_vars]`` int32, row of the table or -1."""
    coverage: Coverage
    """Over the cells of the species."""


def resolve_genes(
    adata: ad.AnnData,
    species_keys: str | pd.Categorical,
    model: str | Path,
    *,
    layer: str | None = None,
    gene_key: str | None = None,
    tables: Mapping[str, ad.AnnData] | None = None,
) -> dict[str, ResolvedGenes]:
    """Load the gene table of every species in the data and map the variables to its rows; species are sorted.

    ``species_keys`` is one key or ``[n_obs]`` keys. ``tables`` by species are used before those of ``model``.
    """
    if gene_key is not None and gene_key not in adata.var:
        columns = ", ".join(map(repr, adata.var.columns)) or "none"
        raise KeyError(f"gene_key={gene_key!r} is not a column of var; its columns are: {columns}.")
    cells: Any = species_keys
    if isinstance(species_keys, str):
        cells = pd.Categorical([species_keys]).take(np.zeros(adata.n_obs, int))
    cells = cells.remove_unused_categories()
    counts, n_cells = _sampled_counts(adata, np.asarray(cells.codes), len(cells.categories), layer)

    resolved = {}
    for i, species in enumerate(cells.categories):
        table = tables[species] if tables and species in tables else load_table(species, model=model)
        key, names, mapping = _choose_names(adata, table, counts[i], gene_key)
        report = coverage(
            mapping, names, counts[i], table, gene_key=key, n_cells=int(n_cells[i]), others=bundled_names()
        )
        report.check(names)
        logger.info("%s", report)
        resolved[species] = ResolvedGenes(table, mapping.rows, report)
    return resolved


def _sampled_counts(
    adata: ad.AnnData, codes: np.ndarray, n_species: int, layer: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum counts by species ``[n_species, n_vars]`` over sampled blocks; also the number of cells ``[n_species]``."""
    wanted = set()
    for species in range(n_species):
        # evenly spaced among the blocks with cells of this species
        blocks = np.unique(np.flatnonzero(codes == species) // _BLOCK_ROWS)
        n_kept = min(len(blocks), n_blocks(_SAMPLED_ROWS, _BLOCK_ROWS))
        wanted.update(blocks[np.linspace(0, len(blocks) - 1, n_kept).round().astype(int)].tolist())
    # X of a backed view would be read whole; iter_blocks reads the view block by block
    X = adata if layer in (None, "X") and adata.isbacked and adata.is_view else get_layer(adata, layer)
    counts = np.zeros((n_species, adata.n_vars))
    n_cells = np.zeros(n_species, dtype=np.int64)
    for rows, block in iter_blocks(X, _BLOCK_ROWS, blocks=sorted(wanted)):
        check_counts(block, where=layer_name(layer))
        for species in np.unique(codes[rows]):
            mine = codes[rows] == species
            counts[species] += np.asarray(block[mine].sum(axis=0)).ravel()
            n_cells[species] += mine.sum()
    return counts, n_cells


def _choose_names(
    adata: ad.AnnData, table: ad.AnnData, counts: np.ndarray, gene_key: str | None
) -> tuple[str, Any, NameMapping]:
    """Choose the names: their source, the names, and their mapping."""
    names = adata.var_names if gene_key is None else adata.var[gene_key]
    best = "var_names" if gene_key is None else gene_key, names, map_names(names, table)
    if gene_key is not None or np.mean(best[2].rows >= 0) >= 0.5:
        return best

    def score(candidate: tuple[str, Any, NameMapping]) -> tuple[float, int]:
        mapped = candidate[2].rows >= 0
        return float(counts[mapped].sum()), int(mapped.sum())

    by_name = {str(column).lower(): column for column in adata.var.columns}
    for column in (by_name[c] for c in GENE_COLUMNS if c in by_name):
        candidate = (column, adata.var[column], map_names(adata.var[column], table))
        if score(candidate) > score(best):
            best = candidate
    if best[0] != "var_names":
        logger.info("Few var_names are genes; using var[%r], which covers more counts.", best[0])
    return best

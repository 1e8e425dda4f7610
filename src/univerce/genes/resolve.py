"""Map the variables of a data set to genes of the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd

from univerce._settings import HINT, logger
from univerce._validate import check_counts, counts_elsewhere, get_column, get_counts, layer_name
from univerce.genes.bundled_names import bundled_names
from univerce.genes.coverage import Coverage, coverage
from univerce.genes.load import load_table
from univerce.genes.lookup import map_columns
from univerce.genes.spellings import clean_names, genome_species, split_genome, stable_id
from univerce.io.blocks import iter_blocks, n_blocks

# Columns of var that often hold gene names, for variables that var_names do not name.
GENE_COLUMNS = (
    "ensembl_id", "gene_ids", "gene_id", "feature_id", "feature_name", "gene_symbol", "gene_symbols", "gene_name",
    "gene_names", "symbol", "_index", "index",
)  # fmt: skip
_BLOCK_ROWS = 250
_SAMPLED_ROWS = 10_000

_TYPE_COLUMNS = ("feature_types", "feature_type")
_GENE_TYPES = {"gene expression", "gex"}
_OTHER_TYPES = {
    "antibody capture", "antigen capture", "crispr guide capture", "multiplexing capture", "custom", "peaks", "adt",
    "hto", "atac",
}  # fmt: skip


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
    X, var = get_counts(adata, layer)
    if gene_key is not None and gene_key not in var:
        known = ", ".join(map(repr, var.columns)) or "none"
        raise KeyError(f"gene_key={gene_key!r} is not a column of var; its columns are: {known}.")
    cells: Any = species_keys
    if isinstance(species_keys, str):
        cells = pd.Categorical([species_keys]).take(np.zeros(adata.n_obs, int))
    cells = cells.remove_unused_categories()
    check = partial(check_counts, where=layer_name(layer), fix=partial(counts_elsewhere, adata, layer))
    counts, n_cells = _sampled_counts(X, X.shape[1], np.asarray(cells.codes), len(cells.categories), check)

    var = var if isinstance(var, pd.DataFrame) else var.to_memory()  # of a lazy AnnData
    others = other_features(var)
    columns, genomes = _name_columns(var[others == ""], gene_key), _genomes(var[others == ""])
    resolved = {}
    for i, species in enumerate(cells.categories):
        table = tables[species] if tables and species in tables else load_table(species, model=model)
        mine = counts[i][others == ""]
        named = _with_genome(columns, genomes, species)
        mapping, source = map_columns(named, table)
        report = coverage(
            mapping,
            mine,
            table,
            gene_key=_main_column(named, source, mine),
            n_cells=int(n_cells[i]),
            others=bundled_names(),
            left_out=_left_out(others, counts[i]),
        )
        report.check(mapping.names)
        logger.log(HINT, "%s", report)
        rows = np.full(X.shape[1], -1, dtype=np.int32)
        rows[others == ""] = mapping.rows
        resolved[species] = ResolvedGenes(table, rows, report)
    return resolved


def _sampled_counts(
    X: Any, n_vars: int, codes: np.ndarray, n_species: int, check: Callable[[Any], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Sum counts by species ``[n_species, n_vars]`` over sampled blocks; also the number of cells ``[n_species]``."""
    wanted = set()
    for species in range(n_species):
        # evenly spaced among the blocks with cells of this species
        blocks = np.unique(np.flatnonzero(codes == species) // _BLOCK_ROWS)
        n_kept = min(len(blocks), n_blocks(_SAMPLED_ROWS, _BLOCK_ROWS))
        wanted.update(blocks[np.linspace(0, len(blocks) - 1, n_kept).round().astype(int)].tolist())
    counts = np.zeros((n_species, n_vars))
    n_cells = np.zeros(n_species, dtype=np.int64)
    for rows, block in iter_blocks(X, _BLOCK_ROWS, blocks=sorted(wanted)):
        check(block)
        for species in np.unique(codes[rows]):
            mine = codes[rows] == species
            counts[species] += np.asarray(block[mine].sum(axis=0)).ravel()
            n_cells[species] += mine.sum()
    return counts, n_cells


def _name_columns(var: pd.DataFrame, gene_key: str | None) -> dict[str, list[str]]:
    """Collect the names of the variables: columns of identifiers, then ``var_names``, then other well-known columns."""
    if gene_key is not None:
        return {gene_key: clean_names(get_column(var, gene_key, name="adata.var"))}
    plain = {column: re.sub(r"(-\d+)+$", "", str(column)).lower() for column in var.columns}  # joined: gene_ids-0
    used = [column for name in GENE_COLUMNS for column in plain if plain[column] == name]
    known = {str(column): clean_names(get_column(var, column, name="adata.var")) for column in used}
    columns = {"var_names": clean_names(var.index), **known}
    return dict(sorted(columns.items(), key=lambda item: not _are_ids(item[1])))


def _genomes(var: pd.DataFrame) -> list[str]:
    """Species of each variable, if ``var["genome"]`` tells several apart, ``""`` if unknown; otherwise nothing."""
    names = clean_names(get_column(var, "genome", name="adata.var")) if "genome" in var else []
    known = {name: genome_species(name) for name in set(names)}
    return [known[name] for name in names] if len(set(known.values()) - {""}) > 1 else []


def _with_genome(columns: Mapping[str, list[str]], genomes: Sequence[str], species: str) -> Mapping[str, list[str]]:
    """Add the prefix of its genome to a name of another species: Cd3d of the mouse is not CD3D in another case."""
    if not genomes:
        return columns
    return {
        column: [
            name if genome in ("", species) or not name or split_genome(name)[0] else f"{genome}___{name}"
            for genome, name in zip(genomes, names, strict=True)
        ]
        for column, names in columns.items()
    }


def _are_ids(names: Sequence[str]) -> bool:
    return sum(stable_id(name.upper()) != "" for name in names) > sum(name != "" for name in names) / 2


def _main_column(columns: Mapping[str, Sequence[str]], source: np.ndarray, counts: np.ndarray) -> str:
    """Choose the column that found most counts, then most genes; of equal columns ``var_names``."""

    def score(column: str) -> tuple[float, int, bool]:
        mine = source == column
        return float(counts[mine].sum()), int(mine.sum()), column == "var_names"

    return max(columns, key=score)


def _left_out(others: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
    """Count the variables that are not genes, by their feature type."""
    frame = pd.DataFrame({"feature_type": others, "names": 1, "counts": counts})[others != ""]
    return frame.groupby("feature_type", as_index=False, sort=True).sum()


def other_features(var: pd.DataFrame) -> np.ndarray:
    """Find the variables that are not genes: ``[n_vars]`` their feature type, ``""`` for genes.

    Beside "Gene Expression" every other type is none; without it the types that are known. CELLxGENE keeps biotypes of
    genes in ``feature_type``.
    """
    found = np.full(len(var.index), "", dtype=object)
    for column in _TYPE_COLUMNS:
        if column in var:
            types = np.array(clean_names(get_column(var, column, name="adata.var")), dtype=object)
            lower = np.array([name.lower() for name in types], dtype=object)
            genes = np.isin(lower, list(_GENE_TYPES))
            others = ~genes & (lower != "") if genes.any() else np.isin(lower, list(_OTHER_TYPES))
            found[others] = types[others]
    return found

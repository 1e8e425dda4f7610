"""Gene tables that are handed over instead of being looked up by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import anndata as ad

from univerce.genes.load import available_species
from univerce.genes.species_of import species_of
from univerce.genes.table import gene_table_info, read_table, validate_table

Tables: TypeAlias = ad.AnnData | Path | str | Sequence[ad.AnnData | Path | str]


def given_tables(table: Tables | None) -> dict[str, ad.AnnData]:
    """Gene tables by species.

    Parameters
    ----------
    table
        A gene table, its path, or several of them for data of several species; ``None`` is none.

    Raises
    ------
    ValueError
        When one is no gene table, or two are of one species.
    """
    if table is None:
        return {}
    found: dict[str, ad.AnnData] = {}
    for one in [table] if isinstance(table, ad.AnnData | Path | str) else table:
        opened = one if isinstance(one, ad.AnnData) else read_table(one)
        validate_table(opened)
        species = str(gene_table_info(opened)["species"])
        if species in found:
            raise ValueError(f"table= holds two gene tables of {species!r}; pass one of them.")
        found[species] = opened
    return found


def species_and_tables(
    adata: ad.AnnData, species: str | None, model: str | Path, table: Tables | None, within: Any
) -> tuple[Any, dict[str, ad.AnnData]]:
    """The species of the cells, see :func:`univerce.genes.species_of.species_of`, and the tables that were handed over.

    A single table says of which species the cells are, when nothing else does.

    Raises
    ------
    ValueError
        When a table is of a species that no cell is of.
    """
    tables = given_tables(table)
    alone = next(iter(tables)) if len(tables) == 1 else None
    keys = species_of(adata, species, known=(*available_species(model), *tables), within=within, default=alone)
    present = {keys} if isinstance(keys, str) else set(keys)
    if strange := sorted(set(tables) - present):
        raise ValueError(f"table= is of {', '.join(strange)}; the cells are of {', '.join(sorted(present))}.")
    return keys, tables

"""The species of every cell, and the gene tables that were passed in place of a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import anndata as ad
import numpy as np
import pandas as pd

from univerce._validate import get_column
from univerce.genes.species import find_species, resolve_species
from univerce.genes.table import gene_table_info, read_table, validate_table

Table: TypeAlias = ad.AnnData | Path | str
SpeciesLike: TypeAlias = Table | Sequence[Table] | None
"""A name, a column of ``obs``, or gene tables."""

_KEYS = ("organism", "species", "organism_ontology_term_id")
_TABLE_FILES = (".h5ad", ".zarr", ".zarr.zip")


def species_of(
    adata: ad.AnnData, species: SpeciesLike = None, *, known: Iterable[str] = (), within: Any = None
) -> tuple[str | pd.Categorical, dict[str, ad.AnnData]]:
    """Find the species of the cells, one key or ``[n_obs]`` keys, and open the given gene tables by species.

    ``species`` is a name or a column of ``obs``. ``None`` takes the first of ``organism``, ``species`` and
    ``organism_ontology_term_id`` in ``uns``, then in ``obs``, then in the ``uns`` of the MuData ``within``. Given
    gene tables, look it up the same way; a single table also sets the species if nothing else does. ``known`` are
    further keys.
    """
    tables = _given_tables(species)
    default = next(iter(tables)) if len(tables) == 1 else None
    keys = _keys(adata, None if tables else species, (*known, *tables), within, default)
    present = {keys} if isinstance(keys, str) else set(keys)
    if strange := sorted(set(tables) - present):
        raise ValueError(
            f"species= holds a gene table of {', '.join(strange)}, but the cells are of {', '.join(sorted(present))}."
        )
    return keys, tables


def _given_tables(species: SpeciesLike) -> dict[str, ad.AnnData]:
    if species is None or (isinstance(species, str) and not species.endswith(_TABLE_FILES)):
        return {}
    found: dict[str, ad.AnnData] = {}
    for one in [species] if isinstance(species, ad.AnnData | Path | str) else species:
        if isinstance(one, str) and not one.endswith(_TABLE_FILES):
            raise ValueError(
                f"species= holds {one!r} in a list, which may hold gene tables and their paths (.h5ad, .zarr.zip) only."
            )
        table = one if isinstance(one, ad.AnnData) else read_table(one)
        validate_table(table)
        key = str(gene_table_info(table)["species"])
        if key in found:
            raise ValueError(f"species= holds two gene tables of {key!r}; pass one of them.")
        found[key] = table
    return found


def _keys(
    adata: ad.AnnData, species: Any, known: tuple[str, ...], within: Any, default: str | None
) -> str | pd.Categorical:
    if species is not None:
        if find_species(species, extra=known) is None and species in adata.obs:
            return _per_cell(get_column(adata.obs, species, name="adata.obs"), known)
        try:
            return resolve_species(species, extra=known)
        except ValueError as error:
            raise ValueError(
                f"{error} Nor is it a column of obs: {', '.join(map(str, adata.obs)) or 'none'}."
            ) from None
    if (found := _in_uns(adata.uns, "adata", known)) is not None:
        return found
    for key in _KEYS:
        if key in adata.obs:
            return _per_cell(get_column(adata.obs, key, name="adata.obs"), known)
    if within is not None and (found := _in_uns(within.uns, "mdata", known)) is not None:
        return found
    if default is not None:
        return default
    raise ValueError(
        'The species is not stated. Pass species=, for example species="human", or the column of obs with the species; '
        'or set adata.uns["organism"].'
    )


def _in_uns(uns: Mapping[str, Any], owner: str, known: tuple[str, ...]) -> str | None:
    for key in _KEYS:
        if isinstance(uns.get(key), str):
            return _resolve(uns[key], f"{owner}.uns[{key!r}]", known)
    return None


def _resolve(name: str, where: str, known: tuple[str, ...]) -> str:
    try:
        return resolve_species(name, extra=known)
    except ValueError as error:
        raise ValueError(f"{where}: {error} Correct it, or pass species=.") from None


def _per_cell(column: pd.Series, known: tuple[str, ...]) -> str | pd.Categorical:
    where = f"adata.obs[{column.name!r}]"
    codes, names = pd.factorize(column.astype(object))
    missing = np.isin(codes, [-1, *(i for i, name in enumerate(names) if not str(name).strip())])
    if missing.any():
        raise ValueError(
            f"{where}: {int(missing.sum()):,} of {len(column):,} cells have no species. Fill them in or leave those "
            "cells out."
        )
    keys = np.array([_resolve(str(name), where, known) for name in names], dtype=object)
    if len(set(keys)) == 1:
        return str(keys[0])
    return pd.Categorical(keys[codes])

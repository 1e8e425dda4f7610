"""The gene names of a species; those of the bundled tables are read without their features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import zarr

from univerce.genes.release.registry import BUNDLED_TABLES, list_tables
from univerce.genes.spellings import clean_names
from univerce.genes.table import gene_table_info


@dataclass(frozen=True, eq=False)
class SpeciesNames:
    """Gene names of one species for look-up, as hashes: the strings of all bundled species take 60 MB."""

    species: str
    symbols: np.ndarray
    upper_symbols: np.ndarray
    ids: np.ndarray
    """In upper case."""

    @classmethod
    def of(cls, table: ad.AnnData) -> SpeciesNames:
        """Read the names in a gene table from ``obs``."""
        symbols, ids = clean_names(table.obs["symbol"]), clean_names(table.obs["ensembl_id"])
        return cls.of_clean(str(gene_table_info(table)["species"]), symbols, ids)

    @classmethod
    def of_clean(cls, species: str, symbols: Iterable[str], ids: Iterable[str]) -> SpeciesNames:
        """Hash names without blanks around them; ``""`` are left out."""
        written, identifiers = list(filter(None, symbols)), list(filter(None, ids))
        return cls(species, hashes(written), hashes(map(str.upper, written)), hashes(map(str.upper, identifiers)))


def hashes(names: Iterable[str]) -> np.ndarray:
    """``[n]`` uint64, the same in every process."""
    return pd.util.hash_array(np.array(list(names), dtype=object), categorize=False)


def bundled_names() -> tuple[SpeciesNames, ...]:
    """Read the names of every bundled gene table.

    Data for any model are compared with these: they kept the case of the symbols and need no download.
    """
    return tuple(names for species in sorted(list_tables(BUNDLED_TABLES)) if (names := names_of_species(species)))


@cache
def names_of_species(species: str) -> SpeciesNames | None:
    """Read the names of the bundled gene table of a species, if there is one."""
    columns = _symbols_and_ids(species)
    return None if columns is None else SpeciesNames.of_clean(species, *columns)


@cache
def symbols_by_id(species: str) -> dict[str, str]:
    """Read the symbols of the bundled gene table of a species by their identifiers, both in upper case."""
    columns = _symbols_and_ids(species) or ((), ())
    symbols, ids = (map(str.upper, column) for column in columns)
    known = dict(zip(ids, symbols, strict=True))
    known.pop("", None)
    return known


def _symbols_and_ids(species: str) -> tuple[Any, Any] | None:
    path = list_tables(BUNDLED_TABLES).get(species)
    if path is None:
        return None
    with zarr.storage.ZipStore(path, mode="r") as store:
        table = zarr.open_group(store, mode="r")
        return ad.io.read_elem(table["obs/symbol"]), ad.io.read_elem(table["obs/ensembl_id"])

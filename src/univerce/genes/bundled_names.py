"""The gene names of a species; those of the bundled tables are read without their features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import anndata as ad
import zarr

from univerce.genes.release.registry import BUNDLED_TABLES, list_tables
from univerce.genes.spellings import clean_names
from univerce.genes.table import gene_table_info


@dataclass(frozen=True, eq=False)
class SpeciesNames:
    """Gene names of one species for look-up: symbols as written and in upper case, identifiers in upper case."""

    species: str
    symbols: frozenset[str]
    upper_symbols: frozenset[str]
    ids: dict[str, str]
    """Identifier to symbol in upper case."""

    @classmethod
    def of(cls, table: ad.AnnData) -> SpeciesNames:
        """Read the names in a gene table from ``obs``."""
        return cls._build(str(gene_table_info(table)["species"]), table.obs["symbol"], table.obs["ensembl_id"])

    @classmethod
    def _build(cls, species: str, symbols: Iterable[object], ids: Iterable[object]) -> SpeciesNames:
        written = clean_names(symbols)
        upper = list(map(str.upper, written))
        identifiers = dict(zip(map(str.upper, clean_names(ids)), upper, strict=True))
        identifiers.pop("", None)
        return cls(species, frozenset(written) - {""}, frozenset(upper) - {""}, identifiers)


def bundled_names() -> tuple[SpeciesNames, ...]:
    """Read the names of every bundled gene table.

    Data for any model are compared with these: they kept the case of the symbols and need no download.
    """
    return tuple(names for species in sorted(list_tables(BUNDLED_TABLES)) if (names := names_of_species(species)))


@cache
def names_of_species(species: str) -> SpeciesNames | None:
    """Read the names of the bundled gene table of a species, if there is one."""
    path = list_tables(BUNDLED_TABLES).get(species)
    if path is None:
        return None
    with zarr.storage.ZipStore(path, mode="r") as store:
        table = zarr.open_group(store, mode="r")
        symbols, ids = (ad.io.read_elem(table[f"obs/{column}"]) for column in ("symbol", "ensembl_id"))
    return SpeciesNames._build(species, symbols, ids)

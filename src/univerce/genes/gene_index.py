"""The names of a gene table for look-up."""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import numpy as np

from univerce.genes.bundled_names import symbols_by_id
from univerce.genes.spellings import clean_names, make_names, stable_id

GENE_NAMES = Path(__file__).resolve().parents[1] / "data" / "gene_names"


class Found(NamedTuple):
    """The gene of a name."""

    row: int = -1
    """Row of the table, -1 for none."""
    how: str = ""
    """What matched, as in :class:`univerce.genes.lookup.NameMapping`."""
    candidates: tuple[str, ...] = ()
    """Symbols of the genes that an ambiguous name may mean."""


NOTHING = Found()


class GeneIndex:
    """Rows of a gene table by symbol, identifier and other names.

    Of several genes with one symbol the one on the chromosome with most genes wins, then the first.
    """

    def __init__(self, table: ad.AnnData) -> None:
        info: Mapping[str, object] = table.uns.get("gene_table", {})
        self.species = str(info.get("species", ""))
        symbols = clean_names(table.obs["symbol"])
        self.upper_symbols = [symbol.upper() for symbol in symbols]
        code = table.obs["chromosome_code"]
        order = np.argsort(-code.map(code.value_counts()).to_numpy(), kind="stable").tolist()
        self._symbols = _first_row(symbols, order)
        self._upper = _first_row(self.upper_symbols, order)
        self._ids = _first_row([name.upper() for name in clean_names(table.obs["ensembl_id"])], order)
        self._other = other_names(self.species)

    def find(self, name: str) -> Found:
        """Find a symbol or an identifier."""
        upper = name.upper()
        for how, key, rows in (
            ("symbol", name, self._symbols),
            ("ensembl", upper, self._ids),
            ("symbol_case", upper, self._upper),
        ):
            if (row := rows.get(key)) is not None:
                return Found(row, how)
        if not (identifier := stable_id(upper)):
            return NOTHING
        row = self._ids.get(identifier, -1)
        if row < 0 and (symbol := self._symbol_of_id.get(identifier)):
            row = self._upper.get(symbol, self.find_other(symbol).row)
        return Found(row, "ensembl") if row >= 0 else NOTHING

    def find_symbol(self, symbol: str) -> int:
        """Find a symbol exactly as it is written: its row, or -1."""
        return self._symbols.get(symbol, -1)

    def find_other(self, name: str) -> Found:
        """Find a previous symbol or an alias, or the gene that carries one in the table."""
        upper = name.upper()
        symbol = self._other.symbols.get(upper)
        if symbol in self._upper:
            return Found(self._upper[symbol], self._kind(upper))
        old = self._old_symbols.get(symbol or upper, ())
        if len(old) == 1:
            return Found(self._upper[old[0]], self._kind(upper if symbol else old[0]))
        candidates = tuple(sorted(old)) if old else self._other.ambiguous.get(upper)
        return Found(candidates=candidates) if candidates else NOTHING

    def find_dotted(self, name: str) -> int:
        """Find a symbol that R changed to a valid name: its row, or -1."""
        return self._dotted.get(name.upper(), -1) if "." in name or name[:1] in "Xx" else -1

    @cached_property
    def _dotted(self) -> dict[str, int]:
        """Rows by the symbol after ``make.names``, of symbols that it changes, if one symbol becomes that name."""
        changed = [(make_names(symbol), row) for symbol, row in self._upper.items()]
        times = Counter(name for name, _ in changed)
        return {name: row for name, row in changed if times[name] == 1 and name not in self._upper}

    @cached_property
    def _old_symbols(self) -> dict[str, list[str]]:
        """Symbols of the table that are not current any more, by the current one."""
        found: dict[str, list[str]] = {}
        for symbol in self._upper:
            current = self._other.symbols.get(symbol)
            if current is not None and current not in self._upper:
                found.setdefault(current, []).append(symbol)
        return found

    @cached_property
    def _symbol_of_id(self) -> Mapping[str, str]:
        """Symbols of the bundled annotation, for tables without all identifiers."""
        return symbols_by_id(self.species)

    def _kind(self, name: str) -> str:
        return "previous" if name in self._other.previous else "alias"


def _first_row(keys: Sequence[str], order: Sequence[int]) -> dict[str, int]:
    return {keys[row]: row for row in reversed(order) if keys[row]}


@dataclass(frozen=True, eq=False)
class OtherNames:
    """Other names of the genes of one species; all names are in upper case."""

    symbols: dict[str, str] = field(default_factory=dict)
    """Current symbol of every name that means one gene."""
    previous: frozenset[str] = frozenset()
    """Names that were official symbols; the others are aliases."""
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Current symbols of names that mean several genes."""


@cache
def other_names(species: str) -> OtherNames:
    """Read the other names of a species, none if the package has no file of it."""
    path = GENE_NAMES / f"{species}.tsv.xz"
    return read_other_names(path) if path.is_file() else OtherNames()


def read_other_names(path: Path) -> OtherNames:
    """Read a file that ``python -m benchmarks gene_names`` wrote."""
    symbols: dict[str, str] = {}
    previous = set()
    ambiguous: dict[str, list[str]] = {}
    for line in lzma.decompress(path.read_bytes()).decode().splitlines():
        name, symbol, kind = line.split("\t")
        if kind == "ambiguous":
            ambiguous.setdefault(name, []).append(symbol)
        else:
            symbols[name] = symbol
        if kind == "previous":
            previous.add(name)
    return OtherNames(symbols, frozenset(previous), {name: tuple(genes) for name, genes in ambiguous.items()})

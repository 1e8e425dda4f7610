"""Previous symbols and aliases of genes, of the species for which the package ships them."""

from __future__ import annotations

import lzma
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

GENE_NAMES = Path(__file__).resolve().parents[1] / "data" / "gene_names"


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

"""Known species and the spellings of their names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Species:
    """One species."""

    key: str
    """Name in gene tables and throughout the package."""
    scientific_name: str
    taxonomy_id: int
    """Of NCBI."""
    id_prefix: str
    """Prefix of its gene identifiers in Ensembl."""
    aliases: tuple[str, ...] = ()
    """Further names, among them genome assemblies that label count matrices."""


SPECIES: dict[str, Species] = {
    row[0]: Species(*row[:4], aliases=row[4:])
    for row in (
        ("human", "Homo sapiens", 9606, "ENSG", "Hs", "H. sapiens", "hg19", "hg38", "GRCh37", "GRCh38"),
        ("mouse", "Mus musculus", 10090, "ENSMUSG", "Mm", "M. musculus", "house mouse", "mm9", "mm10", "mm39", "GRCm38",
         "GRCm39"),
        ("rat", "Rattus norvegicus", 10116, "ENSRNOG", "Rn", "R. norvegicus", "Norway rat", "brown rat", "rn6", "rn7",
         "mRatBN7.2"),
        ("zebrafish", "Danio rerio", 7955, "ENSDARG", "Dr", "D. rerio", "GRCz10", "GRCz11"),
        ("chicken", "Gallus gallus", 9031, "ENSGALG", "Gg", "G. gallus"),
        ("pig", "Sus scrofa", 9823, "ENSSSCG", "Ss", "S. scrofa", "swine"),
        ("macaca_mulatta", "Macaca mulatta", 9544, "ENSMMUG", "M. mulatta", "rhesus", "rhesus macaque",
         "rhesus monkey", "Mmul_10"),
        ("macaca_fascicularis", "Macaca fascicularis", 9541, "ENSMFAG", "M. fascicularis", "cynomolgus",
         "cynomolgus macaque", "cynomolgus monkey", "crab-eating macaque", "long-tailed macaque"),
        ("mouse_lemur", "Microcebus murinus", 30608, "ENSMICG", "M. murinus", "grey mouse lemur", "gray mouse lemur"),
        ("frog", "Xenopus tropicalis", 8364, "ENSXETG", "Xt", "X. tropicalis", "western clawed frog",
         "tropical clawed frog"),
        ("dog", "Canis lupus familiaris", 9615, "ENSCAFG", "Cf", "Canis familiaris", "C. familiaris"),
        ("fly", "Drosophila melanogaster", 7227, "FBgn", "Dm", "D. melanogaster", "drosophila", "fruit fly",
         "vinegar fly"),
        ("worm", "Caenorhabditis elegans", 6239, "WBGene", "Ce", "C. elegans", "nematode", "roundworm"),
        ("green_monkey", "Chlorocebus sabaeus", 60711, "ENSCSAG", "C. sabaeus", "African green monkey", "vervet"),
        ("naked_mole_rat", "Heterocephalus glaber", 10181, "ENSHGLG", "H. glaber"),
    )
}  # fmt: skip


def _squash(name: str) -> str:
    """Remove case, whitespace and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _spellings() -> dict[str, str]:
    spellings: dict[str, str] = {}
    for key, species in SPECIES.items():
        taxonomy = str(species.taxonomy_id)
        for name in (key, species.scientific_name, taxonomy, f"NCBITaxon:{taxonomy}", *species.aliases):
            if spellings.setdefault(_squash(name), key) != key:
                raise ValueError(f"The name {name!r} means both {spellings[_squash(name)]!r} and {key!r}.")
    return spellings


_SPELLINGS = _spellings()


def find_species(name: str, *, extra: Iterable[str] = ()) -> str | None:
    """Find the key of a name as :func:`resolve_species` does, or ``None``."""
    squashed = _squash(str(name))
    if not squashed:
        return None
    for key in extra:
        if _squash(key) == squashed:
            return key
    return _SPELLINGS.get(squashed)


def resolve_species(name: str, *, extra: Iterable[str] = ()) -> str:
    """Get the key of a species from its key, scientific or common name, assembly or NCBI taxonomy identifier.

    Case, whitespace and punctuation are ignored. ``extra`` are keys of further species, such as those of your gene
    tables; they come before the built-in names. ``ValueError`` lists the keys and the closest names.
    """
    extra = tuple(extra)
    key = find_species(name, extra=extra)
    if key is not None:
        return key
    spellings = _SPELLINGS | {_squash(k): k for k in extra}
    close = difflib.get_close_matches(_squash(str(name)), spellings, n=3, cutoff=0.7)
    hint = list(dict.fromkeys(repr(spellings[c]) for c in close))
    known = sorted({*SPECIES, *extra})
    raise ValueError(
        f"species={name!r} is not known"
        + (f"; did you mean {' or '.join(hint)}?" if hint else ".")
        + f" Known species: {', '.join(known)} (scientific names and NCBI taxonomy ids work too)."
    )

"""The species known by name, and how their names are written."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Species:
    """One species.

    Parameters
    ----------
    key
        The name used by gene tables and throughout the package.
    scientific_name
        Genus and species (and subspecies where Ensembl uses it).
    taxonomy_id
        NCBI taxonomy identifier.
    id_prefix
        What the identifiers of its genes start with in Ensembl.
    release_prefix
        Start of the Ensembl file names that the released models were built from; ``""`` for species they do not cover.
    aliases
        Further names, among them the genome assemblies that count matrices are labeled with.
    """

    key: str
    scientific_name: str
    taxonomy_id: int
    id_prefix: str
    release_prefix: str = ""
    aliases: tuple[str, ...] = ()


SPECIES: dict[str, Species] = {
    species.key: species
    for species in (
        Species(
            "human",
            "Homo sapiens",
            9606,
            "ENSG",
            "Homo_sapiens.GRCh38",
            ("Hs", "H. sapiens", "hg19", "hg38", "GRCh37", "GRCh38"),
        ),
        Species(
            "mouse",
            "Mus musculus",
            10090,
            "ENSMUSG",
            "Mus_musculus.GRCm39",
            ("Mm", "M. musculus", "house mouse", "mm9", "mm10", "mm39", "GRCm38", "GRCm39"),
        ),
        Species("rat", "Rattus norvegicus", 10116, "ENSRNOG", "", ("Rn", "R. norvegicus", "Norway rat", "brown rat")),
        Species("zebrafish", "Danio rerio", 7955, "ENSDARG", "Danio_rerio.GRCz11", ("Dr", "D. rerio", "GRCz11")),
        Species("chicken", "Gallus gallus", 9031, "ENSGALG", "", ("Gg", "G. gallus")),
        Species("pig", "Sus scrofa", 9823, "ENSSSCG", "Sus_scrofa.Sscrofa11.1", ("Ss", "S. scrofa", "swine")),
        Species(
            "macaca_mulatta",
            "Macaca mulatta",
            9544,
            "ENSMMUG",
            "Macaca_mulatta.Mmul_10",
            ("M. mulatta", "rhesus", "rhesus macaque", "rhesus monkey", "Mmul_10"),
        ),
        Species(
            "macaca_fascicularis",
            "Macaca fascicularis",
            9541,
            "ENSMFAG",
            "Macaca_fascicularis.Macaca_fascicularis_6.0",
            (
                "M. fascicularis",
                "cynomolgus",
                "cynomolgus macaque",
                "cynomolgus monkey",
                "crab-eating macaque",
                "long-tailed macaque",
            ),
        ),
        Species(
            "mouse_lemur",
            "Microcebus murinus",
            30608,
            "ENSMICG",
            "Microcebus_murinus.Mmur_3.0",
            ("M. murinus", "grey mouse lemur", "gray mouse lemur"),
        ),
        Species(
            "frog",
            "Xenopus tropicalis",
            8364,
            "ENSXETG",
            "Xenopus_tropicalis.Xenopus_tropicalis_v9.1",
            ("Xt", "X. tropicalis", "western clawed frog", "tropical clawed frog"),
        ),
        Species("dog", "Canis lupus familiaris", 9615, "ENSCAFG", "", ("Cf", "Canis familiaris", "C. familiaris")),
        Species(
            "fly",
            "Drosophila melanogaster",
            7227,
            "FBgn",
            "",
            ("Dm", "D. melanogaster", "drosophila", "fruit fly", "vinegar fly"),
        ),
        Species("worm", "Caenorhabditis elegans", 6239, "WBGene", "", ("Ce", "C. elegans", "nematode", "roundworm")),
        Species(
            "green_monkey",
            "Chlorocebus sabaeus",
            60711,
            "ENSCSAG",
            "",
            ("C. sabaeus", "African green monkey", "vervet"),
        ),
        Species("naked_mole_rat", "Heterocephalus glaber", 10181, "ENSHGLG", "", ("H. glaber",)),
    )
}


def _squash(name: str) -> str:
    """Spelling without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _spellings() -> dict[str, str]:
    spellings: dict[str, str] = {}
    for key, species in SPECIES.items():
        taxonomy = str(species.taxonomy_id)
        for name in (key, species.scientific_name, taxonomy, f"NCBITaxon:{taxonomy}", *species.aliases):
            if spellings.setdefault(_squash(name), key) != key:
                raise ValueError(f"The name {name!r} stands for both {spellings[_squash(name)]!r} and {key!r}.")
    return spellings


_SPELLINGS = _spellings()


def find_species(name: str, *, extra: Iterable[str] = ()) -> str | None:
    """The key behind ``name`` as in :func:`resolve_species`, or ``None`` when nothing is called that."""
    squashed = _squash(str(name))
    if not squashed:
        return None
    for key in extra:
        if _squash(key) == squashed:
            return key
    return _SPELLINGS.get(squashed)


def resolve_species(name: str, *, extra: Iterable[str] = ()) -> str:
    """The key of a species, whichever way its name is written.

    Parameters
    ----------
    name
        Key, scientific name, common name, assembly or NCBI taxonomy identifier. Case, blanks, underscores and other
        punctuation do not matter.
    extra
        Keys of further species, such as those of your own gene tables; they come before the built-in names.

    Returns
    -------
    The key.

    Raises
    ------
    ValueError
        When nothing is called ``name``; the message lists the keys and the closest names.

    Examples
    --------
    >>> from univerce.genes.species import resolve_species
    >>> resolve_species("Homo sapiens"), resolve_species("NCBITaxon:10090"), resolve_species("rhesus macaque")
    ('human', 'mouse', 'macaca_mulatta')
    >>> resolve_species("axolotl_v2", extra=["axolotl_v2"])
    'axolotl_v2'
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
        + f" Known are {', '.join(known)} (scientific names and NCBI taxonomy ids work too)."
    )

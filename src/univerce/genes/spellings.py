"""Spellings of gene names: what pipelines, programs and spreadsheets make of a symbol or identifier."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from univerce.genes.species import SPECIES

# A stable identifier and what pipelines append: version, GENCODE's lift-over version, copy on the Y chromosome. It does
# not match symbols such as RP11-34P13.7 or T28F2.1.
_STABLE_ID = re.compile(r"([A-Z]{3,}\d{6,})(?:\.\d+)?(?:_\d+|[_-]PAR[_-]Y)?")
# Of make_unique in R (.1) and AnnData (-1); three digits name a transcript (ACTB-201).
_SUFFIX = re.compile(r"(.+)(?:[-._]\d{1,2}|[-_]PAR[-_]Y)", re.IGNORECASE)
_ASSEMBLIES = {
    name.lower(): species.key
    for species in SPECIES.values()
    for name in species.aliases
    if re.fullmatch(r"[A-Za-z]+_?\d[\w.]*", name)
}
# An assembly, the version of a 10x reference, "premrna" and separators, of which Seurat makes dashes; or a species.
_GENOME = re.compile(
    rf"({'|'.join(map(re.escape, sorted(_ASSEMBLIES, key=len, reverse=True)))})"
    rf"(?:-\d[\d.]*(?:-[A-Z])?)?(?:[-_.]pre-?mrna)?[-_]+(.+)|({'|'.join(SPECIES)})_+(.+)",
    re.IGNORECASE,
)
_ID = r"ENS[A-Z]*G\d{6,}(?:\.\d+)?"
_JOINED = re.compile(rf"({_ID})[_|;:, ](.+)|(.+)[_|;:, ]({_ID})", re.IGNORECASE)
_DATE = re.compile(
    r"(\d{1,2})[-/. ]([A-Z]+)(?:[-/ ]\d+)?|([A-Z]+)[-/. ](\d{1,2})|\d{4}-(\d\d)-(\d\d)(?: 00:00:00)?",
    re.IGNORECASE,
)
# Symbols of families that spreadsheets turn into dates: MARCH1 and MARC1, SEPT1, DEC1.
_MARCH, _SEPTEMBER, _DECEMBER = ("MARCHF{}", "MTARC{}"), ("SEPTIN{}",), ("DELEC{}",)
_MONTHS = {
    "MAR": _MARCH, "MARCH": _MARCH, "03": _MARCH, "SEP": _SEPTEMBER, "SEPT": _SEPTEMBER, "09": _SEPTEMBER,
    "DEC": _DECEMBER, "12": _DECEMBER,
}  # fmt: skip


def clean_names(names: Iterable[object]) -> list[str]:
    """Convert names to stripped text; missing ones are ``""``."""
    values = names.to_numpy(dtype=object) if isinstance(names, pd.Series | pd.Index) else list(names)
    if set(map(type, values)) == {str}:  # by far the fastest
        return list(map(str.strip, values))
    return [
        value.strip()
        if isinstance(value, str)
        else ""
        if value is None or value is pd.NA or value != value
        else str(value)
        for value in values
    ]


def stable_id(name: str) -> str:
    """Extract the stable identifier from an upper-case name, ``""`` if it is not one."""
    match = _STABLE_ID.fullmatch(name)
    return match[1] if match else ""


def split_genome(name: str) -> tuple[str, str]:
    """Split ``GRCh38_CD3D`` or ``mm10___Cd3d`` into species and name; the species is ``""`` without a genome."""
    match = _GENOME.fullmatch(name)
    if not match:
        return "", name
    return (_ASSEMBLIES[match[1].lower()], match[2]) if match[1] else (match[3].lower(), match[4])


def genome_species(name: str) -> str:
    """Find the species of a genome such as ``GRCh38`` or ``refdata-gex-mm10-2020-A``, ``""`` if it is unknown."""
    return split_genome(f"{re.sub('refdata-(?:cellranger-|gex-)?', '', name, flags=re.IGNORECASE)}_x")[0]


def split_joined(name: str) -> tuple[str, ...]:
    """Split ``TP53_ENSG00000141510`` into identifier and symbol; nothing if the name is not both."""
    match = _JOINED.fullmatch(name)
    return () if not match else (match[1], match[2]) if match[1] else (match[4], match[3])


def make_names(name: str) -> str:
    """Change a name as ``make.names`` of R does to columns: ``HLA-A`` to ``HLA.A``, ``1110004F10Rik`` gets an X."""
    dotted = re.sub(r"[^\w.]", ".", name)
    return f"X{dotted}" if re.match(r"\.?\d|_", dotted) else dotted


def without_suffix(name: str) -> str:
    """Remove what makes a repeated name unique (``TBCE-1``, ``PSMA2.1``) or marks a copy on Y; ``""`` if nothing does.

    A symbol may look the same (``NKX2-1``), so look up the full name first.
    """
    match = _SUFFIX.fullmatch(name)
    return match[1] if match else ""


def is_date(name: str) -> bool:
    """Whether a name is a date or has no letter, as a damaged name."""
    return _DATE.fullmatch(name) is not None or re.search("[A-Z]", name, re.IGNORECASE) is None


def date_symbols(name: str) -> list[str]:
    """List the current symbols of the genes that a spreadsheet shows as this date (``1-Mar``, ``Sep-02``)."""
    match = _DATE.fullmatch(name)
    if not match:
        return []
    day, month = (match[1], match[2]) if match[1] else (match[4], match[3]) if match[3] else (match[6], match[5])
    families = _MONTHS.get(month.upper(), ())
    if families is _SEPTEMBER and int(day) == 15:
        return ["SELENOF"]
    return [family.format(int(day)) for family in families]

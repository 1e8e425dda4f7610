"""Proteins in FASTA files, and their genes in the headers of Ensembl, UniProt and NCBI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from univerce._errors import reading
from univerce._validate import as_path
from univerce.io.text import text_lines

_VERSIONED = re.compile(r"(.*\D\d{6,})\.\d+")
_PLACE = re.compile(r"[a-z_]+:[^:\s]*:([^:\s]+):([0-9]{1,15}):[0-9]+:[-+]?[0-9]")
_SEQUENCE = re.compile(r"[A-Z*.-]*")


@dataclass(frozen=True, slots=True)
class Protein:
    """One protein and the fields of its header; ``""`` and a start of -1 if unknown."""

    id: str
    sequence: str = ""
    gene: str = ""
    """Identifier of the gene, without version."""
    symbol: str = ""
    transcript: str = ""
    description: str = ""
    chromosome: str = ""
    start: int = -1


def read_proteins(path: Path | str) -> Iterator[Protein]:
    """Read a FASTA file of proteins, plain or gzipped, one record at a time, in upper case.

    Headers of Ensembl (``gene:``, ``gene_symbol:``, ``chromosome:``, ...), UniProt (``GN=``) and NCBI (``[gene=...]``)
    are parsed; of others the first word is the identifier. :class:`univerce.FileError` that names the line if the file
    is damaged, not FASTA, or has a character that no protein sequence has.
    """
    path = as_path(path)
    header = ""
    parts: list[str] = []
    with reading(path, "a FASTA file"):
        for number, line in enumerate(text_lines(path), 1):
            line = line.strip()
            if line.startswith(">"):
                if header:
                    yield parse_header(header, "".join(parts))
                header, parts = line[1:].strip(), []
                if not header:
                    raise ValueError(f"{path}, line {number}: empty header.")
            elif line:
                if not header:
                    raise ValueError(f"{path} is not a FASTA file: it begins with {line[:40]!r}, not with '>'.")
                if not _SEQUENCE.fullmatch(part := line.upper()):
                    wrong = next(c for c in part if not _SEQUENCE.fullmatch(c))
                    raise ValueError(f"{path}, line {number}: {wrong!r} is not a letter of a protein sequence.")
                parts.append(part)
        if not header:
            raise ValueError(f"{path} has no proteins.")
        yield parse_header(header, "".join(parts))


def parse_header(header: str, sequence: str = "") -> Protein:
    """Parse a FASTA header, without its ``>``."""
    name, _, rest = header.partition(" ")
    if match := re.fullmatch(r"(?:sp|tr)\|([^|\s]+)\|\S*", name):
        return _uniprot(match[1], rest, sequence)
    if re.search(r"(?:^|\s)gene:\S", rest.partition("description:")[0]):
        return _ensembl(name, rest, sequence)
    return _ncbi(name, rest, sequence)


def without_version(name: str) -> str:
    """Remove the version of a stable identifier; other names stay as they are."""
    match = _VERSIONED.fullmatch(name)
    return match[1] if match else name


def _ensembl(name: str, rest: str, sequence: str) -> Protein:
    text, _, description = rest.partition("description:")
    words = text.split()
    fields = dict(word.split(":", 1) for word in reversed(words) if ":" in word)  # the first of a key counts
    place = next(filter(None, map(_PLACE.fullmatch, words)), None)
    return Protein(
        name,
        sequence,
        gene=without_version(fields["gene"]),
        symbol=fields.get("gene_symbol", ""),
        transcript=fields.get("transcript", ""),
        description=description.partition("[Source:")[0].strip(),
        chromosome=place[1] if place else "",
        start=int(place[2]) if place else -1,
    )


def _uniprot(name: str, rest: str, sequence: str) -> Protein:
    symbol = re.search(r"\bGN=(\S+)", rest)
    description = re.split(r"\s(?:OS|OX|GN|PE|SV)=", rest, maxsplit=1)[0]
    return Protein(name, sequence, symbol=symbol[1] if symbol else "", description=description.strip())


def _ncbi(name: str, rest: str, sequence: str) -> Protein:
    fields = dict(re.findall(r"\[(\w+)=([^\]]*)\]", rest[: rest.rfind("]") + 1]))
    description: str = fields.get("protein") or rest.partition("[")[0]
    symbol = fields.get("gene", "")
    return Protein(fields.get("protein_id", name), sequence, symbol=symbol, description=description.strip())

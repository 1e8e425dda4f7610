"""Proteomes made up on the spot, in the formats of Ensembl."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


@dataclass
class Record:
    """One protein of an Ensembl file."""

    gene: str
    sequence: str
    symbol: str = ""
    chromosome: str = "1"
    start: int = 1
    kind: str = "primary_assembly"
    description: str = ""

    def text(self, number: int) -> str:
        place = f"{self.kind}:build.1:{self.chromosome}:{self.start}:{self.start + 99}:-1"
        header = f">ENSTOYP{number:011d}.1 pep {place} gene:{self.gene}.4 transcript:ENSTOYT{number:011d}.2"
        header += " gene_biotype:protein_coding transcript_biotype:protein_coding"
        header += f" gene_symbol:{self.symbol}" if self.symbol else ""
        header += f" description:{self.description} [Source:HGNC Symbol;Acc:HGNC:1]" if self.description else ""
        lines = [self.sequence[i : i + 60] for i in range(0, len(self.sequence), 60)]
        return "\n".join([header, *lines])


def gene_id(i: int) -> str:
    return f"ENSTOYG{i:011d}"


def random_sequence(rng: np.random.Generator, n: int) -> str:
    return "".join(rng.choice(list(LETTERS), n))


def relative(sequence: str, rng: np.random.Generator, share: float = 0.2) -> str:
    """The sequence with a share of its letters changed, as an ortholog has."""
    return "".join(c if rng.random() > share else rng.choice(list(LETTERS)) for c in sequence)


def random_records(n_genes: int = 40, n_chromosomes: int = 4, *, seed: int = 0) -> list[Record]:
    """Genes of one to three proteins, every seventh without a symbol."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(n_genes):
        symbol = "" if i % 7 == 6 else f"Sym{i}"
        place = {"chromosome": str(rng.integers(1, n_chromosomes + 1)), "start": int(rng.integers(1, 10**6))}
        records += [
            Record(gene_id(i), random_sequence(rng, rng.integers(20, 200)), symbol, **place)
            for _ in range(rng.integers(1, 4))
        ]
    return records


def write_fasta(path: Path, records: list[Record]) -> Path:
    text = "\n".join(record.text(i) for i, record in enumerate(records)) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def outcome(read: Callable[[Path], Any], path: Path) -> tuple[Any, str]:
    """What was read, or ``None`` and the message with which it was refused; nothing else may be raised."""
    try:
        return read(path), ""
    except ValueError as error:
        return None, str(error)

"""The proteins of a genome by gene, and what was left out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from univerce.genes.build.gtf import Annotation
from univerce.genes.fasta import Protein, read_proteins, without_version

ISOFORMS = ("mean", "longest", "canonical")


@dataclass(frozen=True, eq=False)
class Proteome:
    """The genes of a species and their proteins."""

    genes: pd.DataFrame
    """In the order of the first protein: ``symbol``, ``ensembl_id``, ``chromosome``, ``start``."""
    proteins: list[Protein]
    """All proteins of the first gene, then of the second, and so on."""
    counts: np.ndarray
    """``[n_genes]`` number of proteins of each gene."""
    lost: dict[str, int]
    """Number of proteins or genes left out, by reason."""

    def digest(self) -> str:
        """Compute the SHA-256 of everything that can change a feature."""
        sha = hashlib.sha256(self.counts.astype(np.int64).tobytes())
        for protein in self.proteins:
            for text in (protein.id, protein.gene, protein.symbol, protein.description, protein.sequence):
                sha.update(f"{text}\0".encode())
        return sha.hexdigest()


def read_proteome(fasta: Path | str, annotation: Annotation | None = None, *, isoforms: str = "mean") -> Proteome:
    """Read a FASTA file and assign every protein to its gene.

    The gene is the identifier in the header, else the gene of the protein, of its transcript, or of its symbol (if
    unique) in the annotation. Positions come from the annotation, else from the headers, where a gene has the smallest
    start of its proteins. Proteins with a stop (``*``), empty ones, and those without a gene with a position are left
    out and counted. ``isoforms="longest"`` keeps the first of the longest proteins of a gene.
    """
    if isoforms not in ISOFORMS:
        raise ValueError(f"isoforms={isoforms!r} is not known; use one of {', '.join(ISOFORMS)}.")
    if isoforms == "canonical" and not (annotation and annotation.canonical):
        raise ValueError(
            'isoforms="canonical" needs annotation= with a GTF or GFF3 that has tags such as Ensembl_canonical or '
            '"RefSeq Select"; FASTA headers do not name canonical proteins.'
        )
    by_symbol = _by_symbol(annotation)
    lost: Counter[str] = Counter()
    seen: set[str] = set()
    found: dict[str, list[Protein]] = {}
    for protein in read_proteins(fasta):
        if protein.id in seen:
            raise ValueError(f"{fasta}: the protein {protein.id!r} is repeated.")
        seen.add(protein.id)
        gene = protein.gene if annotation is None else _gene_of(protein, annotation, by_symbol)
        if not protein.sequence or "*" in protein.sequence:
            lost["proteins with a stop" if protein.sequence else "proteins without a sequence"] += 1
        elif not gene:
            lost["proteins without a known gene"] += 1
        elif annotation is None and not protein.chromosome:
            lost["proteins without a position"] += 1
        else:
            found.setdefault(gene, []).append(protein)
    if not found:
        raise ValueError(_nothing_left(fasta, lost, annotation))
    kept = {gene: _choose(proteins, isoforms, annotation) for gene, proteins in found.items()}
    lost["other isoforms"] = sum(map(len, found.values())) - sum(map(len, kept.values()))
    genes = _from_headers(fasta, kept) if annotation is None else annotation.genes.loc[list(kept)]
    return _assemble(genes, kept, {reason: n for reason, n in lost.items() if n})


def without_sequences(annotation: Annotation) -> Proteome:
    """Give every gene one protein without a sequence, for features by name."""
    return _assemble(annotation.genes, {gene: [Protein("")] for gene in annotation.genes.index}, {})


def _assemble(genes: pd.DataFrame, kept: dict[str, list[Protein]], lost: dict[str, int]) -> Proteome:
    """Give all proteins of a gene its names, so that features by name do not depend on the isoform."""
    proteins = [
        replace(p, id=p.id or gene, gene=gene, symbol=symbol, description=description, chromosome="", start=-1)
        for (gene, own), symbol, description in zip(kept.items(), genes["symbol"], genes["description"], strict=True)
        for p in own
    ]
    frame = genes[["symbol", "chromosome", "start"]].rename_axis("ensembl_id").reset_index()
    counts = np.array([len(own) for own in kept.values()], dtype=np.int64)
    return Proteome(frame, proteins, counts, lost)


def _by_symbol(annotation: Annotation | None) -> dict[str, str]:
    """Map unique symbols to genes."""
    if annotation is None:
        return {}
    symbols = annotation.genes["symbol"]
    symbols = symbols[(symbols != "") & ~symbols.duplicated(keep=False)]
    return dict(zip(symbols, symbols.index, strict=True))


def _gene_of(protein: Protein, annotation: Annotation, by_symbol: dict[str, str]) -> str:
    if protein.gene:
        return protein.gene if protein.gene in annotation.genes.index else ""
    for name in (protein.id, without_version(protein.id), protein.transcript, protein.id.partition("-")[0]):
        if name in annotation.gene_of:
            return annotation.gene_of[name]
    if protein.symbol in annotation.genes.index:
        return protein.symbol
    return by_symbol.get(protein.symbol, "")


def _choose(proteins: Sequence[Protein], isoforms: str, annotation: Annotation | None) -> list[Protein]:
    if isoforms == "mean":
        return list(proteins)
    if isoforms == "canonical" and annotation is not None:
        names = annotation.canonical
        if called := [p for p in proteins if names & {p.id, without_version(p.id), p.transcript}]:
            return called
    return [max(proteins, key=lambda p: len(p.sequence))]


def _from_headers(fasta: Path | str, kept: dict[str, list[Protein]]) -> pd.DataFrame:
    rows = {}
    for gene, proteins in kept.items():
        chromosomes = {p.chromosome for p in proteins}
        if len(chromosomes) > 1:
            raise ValueError(f"{fasta}: the gene {gene!r} is on several chromosomes: {', '.join(sorted(chromosomes))}.")
        rows[gene] = (
            _first(p.symbol for p in proteins),
            proteins[0].chromosome,
            min(p.start for p in proteins),
            _first(p.description for p in proteins),
        )
    columns = ["symbol", "chromosome", "start", "description"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).astype({"start": "int64"})


def _first(texts: Iterable[str]) -> str:
    return next(filter(None, texts), "")


def _nothing_left(fasta: Path | str, lost: Counter[str], annotation: Annotation | None) -> str:
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in lost.items())
    fix = "Is the annotation of the same genome, with the identifiers of the headers?"
    if lost["proteins with a stop"] == lost.total():
        fix = "If every sequence ends with *, remove it."
    elif annotation is None:
        fix = "The headers have no gene or position: pass annotation= with a GTF or GFF3 of the same genome."
    return f"No protein of {fasta} is usable ({reasons}). {fix}"

"""The proteins of a genome, gene by gene, and what was left out."""

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
    """The genes of a species and their proteins.

    Parameters
    ----------
    genes
        One row per gene in the order of its first protein: ``symbol``, ``ensembl_id``, ``chromosome``, ``start``.
    proteins
        All proteins of the first gene, then of the second, and so on.
    counts
        ``[n_genes]`` number of proteins of each gene.
    lost
        How many proteins or genes were left out, by reason.
    """

    genes: pd.DataFrame
    proteins: list[Protein]
    counts: np.ndarray
    lost: dict[str, int]

    def digest(self) -> str:
        """SHA-256 of all that can change a feature."""
        sha = hashlib.sha256(self.counts.astype(np.int64).tobytes())
        for protein in self.proteins:
            for text in (protein.id, protein.gene, protein.symbol, protein.description, protein.sequence):
                sha.update(f"{text}\0".encode())
        return sha.hexdigest()


def read_proteome(fasta: Path | str, annotation: Annotation | None = None, *, isoforms: str = "mean") -> Proteome:
    """Read a FASTA file and give every protein its gene.

    A gene is its identifier in the header; without one, what the annotation says of the protein, of its transcript, or
    of its symbol when a single gene has it. Positions are those of the annotation, or without one of the headers, where
    the smallest start of a gene's proteins is that of the gene.

    Parameters
    ----------
    fasta
        Proteins, see :func:`univerce.genes.fasta.read_proteins`.
    annotation
        Genes with positions.
    isoforms
        ``"mean"`` keeps all proteins of a gene, ``"longest"`` one of them (the first of those that are as long), and
        ``"canonical"`` those that the annotation calls so; a gene without such a one keeps its longest.

    Returns
    -------
    The proteome. Proteins with a stop (``*``), empty ones, and those of no gene with a position are left out and
    counted.

    Raises
    ------
    ValueError
        When a protein is there twice, a gene lies on two chromosomes, nothing is left, or ``"canonical"`` is asked for
        and nothing is called canonical.
    """
    if isoforms not in ISOFORMS:
        raise ValueError(f"isoforms={isoforms!r} is not known; use one of {', '.join(ISOFORMS)}.")
    if isoforms == "canonical" and not (annotation and annotation.canonical):
        raise ValueError(
            'isoforms="canonical" needs to be told which proteins are: pass annotation= with a GTF or GFF3 that has '
            'tags such as Ensembl_canonical or "RefSeq Select". FASTA headers do not say it.'
        )
    by_symbol = _by_symbol(annotation)
    lost: Counter[str] = Counter()
    seen: set[str] = set()
    found: dict[str, list[Protein]] = {}
    for protein in read_proteins(fasta):
        if protein.id in seen:
            raise ValueError(f"{fasta}: the protein {protein.id!r} is there more than once.")
        seen.add(protein.id)
        gene = protein.gene if annotation is None else _gene_of(protein, annotation, by_symbol)
        if not protein.sequence or "*" in protein.sequence:
            lost["proteins with a stop" if protein.sequence else "proteins without a sequence"] += 1
        elif not gene:
            lost["proteins of no known gene"] += 1
        elif annotation is None and not protein.chromosome:
            lost["proteins without a position"] += 1
        else:
            found.setdefault(gene, []).append(protein)
    if not found:
        raise ValueError(_nothing_left(fasta, lost, annotation))
    lost["proteins beside the one that is kept"] = 0
    kept = {}
    for gene, proteins in found.items():
        kept[gene] = _chosen(proteins, isoforms, annotation)
        lost["proteins beside the one that is kept"] += len(proteins) - len(kept[gene])
    genes = _from_headers(fasta, kept) if annotation is None else annotation.genes.loc[list(kept)]
    return _assemble(genes, kept, {reason: n for reason, n in lost.items() if n})


def without_sequences(annotation: Annotation) -> Proteome:
    """One protein without a sequence for every gene, for features that are looked up by names."""
    return _assemble(annotation.genes, {gene: [Protein("")] for gene in annotation.genes.index}, {})


def _assemble(genes: pd.DataFrame, kept: dict[str, list[Protein]], lost: dict[str, int]) -> Proteome:
    """All proteins of a gene have its names: what an encoder makes of them does not depend on the isoform."""
    proteins = [
        replace(p, id=p.id or gene, gene=gene, symbol=symbol, description=description, chromosome="", start=-1)
        for (gene, own), symbol, description in zip(kept.items(), genes["symbol"], genes["description"], strict=True)
        for p in own
    ]
    frame = genes[["symbol", "chromosome", "start"]].rename_axis("ensembl_id").reset_index()
    counts = np.array([len(own) for own in kept.values()], dtype=np.int64)
    return Proteome(frame, proteins, counts, lost)


def _by_symbol(annotation: Annotation | None) -> dict[str, str]:
    """Symbols that a single gene has."""
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


def _chosen(proteins: Sequence[Protein], isoforms: str, annotation: Annotation | None) -> list[Protein]:
    if isoforms == "mean":
        return list(proteins)
    if isoforms == "canonical" and annotation is not None:
        called = [p for p in proteins if annotation.canonical & {p.id, without_version(p.id), p.transcript}]
        if called:
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
    fix = "Is the annotation of the same genome, and are its identifiers those of the headers?"
    if lost["proteins with a stop"] == lost.total():
        fix = "If a * stands at the end of every sequence, take it off."
    elif annotation is None:
        fix = "The headers name no gene or position: pass annotation= with a GTF or GFF3 of the same genome."
    return f"No protein of {fasta} can be used ({reasons}). {fix}"

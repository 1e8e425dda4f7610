"""Genes, positions and proteins in GTF and GFF3 files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import pandas as pd

from univerce._errors import reading
from univerce._validate import as_path
from univerce.genes.build.annotation import read_annotation
from univerce.genes.fasta import without_version
from univerce.io.text import text_lines

# possessive, and only from the start of a word: linear in the length of a row
_GTF = re.compile(r'(?<![\w.-])([\w.-]++) ++(?:"([^"]*+)"|([^;\s]++)) *+(?:;|$)')
_START = re.compile(r"[0-9]{1,15}")
_DEPTH = 20  # of parents of a row; genes, transcripts and their parts are three
# Rows without names of genes, transcripts or proteins.
_PASSED_OVER = {"exon", "region", "start_codon", "stop_codon", "UTR", "five_prime_utr", "three_prime_utr", "intron"}
_PASSED_OVER |= {"five_prime_UTR", "three_prime_UTR", "chromosome", "scaffold", "supercontig", "biological_region"}
_CANONICAL = {"Ensembl_canonical", "RefSeq Select", "MANE Select"}
_COLUMNS = ["symbol", "chromosome", "start", "description"]


@dataclass(frozen=True, eq=False)
class Annotation:
    """The genes of a genome."""

    genes: pd.DataFrame
    """Indexed by identifier: ``symbol``, ``chromosome``, ``start`` (bp, int64), ``description``."""
    gene_of: dict[str, str] = field(default_factory=dict)
    """Protein or transcript, with and without version, to gene."""
    canonical: frozenset[str] = frozenset()
    """Canonical or selected proteins and transcripts, with and without version."""


def read_genes(path: Path | str) -> Annotation:
    """Read the genes of a GTF or GFF3 of Ensembl, NCBI or GENCODE, or a tab-separated file, plain or gzipped.

    The first line that is not a comment decides which. A gene on several chromosomes, such as those shared by X and Y,
    is on the first of them; its start is the smallest there. :class:`univerce.FileError` that names the line if the
    file is none of these, is damaged, or has no genes.
    """
    path = as_path(path)
    with reading(path, "a GTF, GFF3 or gene annotation"):
        first = next((line for line in text_lines(path) if line.strip() and not line.startswith("#")), "")
        if "ensembl_id" in first.rstrip("\n").split("\t"):
            table = read_annotation(path)
            # as in gene tables, a gene without an identifier goes by its symbol
            ids = table["ensembl_id"].where(table["ensembl_id"] != "", table["symbol"])
            table = table.assign(ensembl_id=ids)[ids != ""].drop_duplicates("ensembl_id")
            return Annotation(table.set_index("ensembl_id")[_COLUMNS])
        return _collect(path)


@dataclass(slots=True)
class _Gene:
    chromosome: str
    start: int
    symbol: str = ""
    description: str = ""


def _collect(path: Path) -> Annotation:
    genes: dict[str, _Gene] = {}
    parent: dict[str, str] = {}  # GFF3: a row to its parent
    gene_of: dict[str, str] = {}
    product: dict[str, list[str]] = {}  # transcript to its proteins
    canonical: set[str] = set()
    for kind, chromosome, start, fields in _rows(path):
        is_canonical = not _CANONICAL.isdisjoint(fields.get("tag", "").split(","))
        gene_id, mother = fields.get("gene_id", ""), fields.get("Parent", "").split(",")[0]
        own = fields.get("ID", "")
        if mother:
            if own:
                parent[own] = mother
        elif kind != "CDS" and own and (kind.endswith("gene") or gene_id):
            gene_id = gene_id or re.sub(r"^gene[:-]", "", own)
            parent[own] = ""
            gene_of[own] = gene_id
        if gene_id and not mother:
            gene = genes.setdefault(gene_id, _Gene(chromosome, start))
            if gene.chromosome == chromosome:
                gene.start = min(gene.start, start)
            gene.symbol = gene.symbol or fields.get("gene_name", fields.get("Name", fields.get("gene", "")))
            gene.description = gene.description or fields.get("description", "").partition(" [Source:")[0]
        belongs = mother or gene_id
        names = [fields[key] for key in ("transcript_id", "protein_id") if fields.get(key)]
        for name in names if belongs else ():
            gene_of.setdefault(name, belongs)
        if is_canonical:
            canonical.update([*names, own])
        if kind == "CDS" and names:
            product.setdefault(fields.get("transcript_id", mother), []).append(names[-1])
    gene_of = {name: root for name, at in gene_of.items() if (root := _root(at, parent, gene_of)) in genes}
    canonical |= {name for mother in canonical for name in product.get(mother, ())}
    if not genes:
        raise ValueError(f"{path} has no genes: no row has a gene_id, and none is a gene with an ID.")
    frame = pd.DataFrame(
        [(gene.symbol, gene.chromosome, gene.start, gene.description) for gene in genes.values()],
        index=pd.Index(list(genes), name="gene_id"), columns=_COLUMNS,
    )  # fmt: skip
    frame.index = pd.Index([without_version(name) for name in frame.index], name="gene_id")
    return Annotation(
        frame[~frame.index.duplicated()].astype({"start": "int64"}),
        {key: without_version(gene) for name, gene in gene_of.items() for key in (name, without_version(name))},
        frozenset(key for name in canonical if name for key in (name, without_version(name))),
    )


def _root(at: str, parent: dict[str, str], gene_of: dict[str, str]) -> str:
    """Follow the parents of a GFF3 row to its gene; a GTF names the gene directly."""
    for _ in range(_DEPTH):
        if at not in parent:
            break
        if not parent[at]:
            return gene_of[at]
        at = parent[at]
    return at


def _rows(path: Path) -> Iterator[tuple[str, str, int, dict[str, str]]]:
    """Iterate over kind, chromosome, start and attributes of rows that may name a gene or a protein."""
    for number, line in enumerate(text_lines(path), 1):
        if line.startswith("##FASTA"):
            return
        if not line.strip() or line.startswith("#"):
            continue
        columns = line.rstrip("\r\n").split("\t")
        if len(columns) != 9 or not _START.fullmatch(columns[3]):
            raise ValueError(
                f"{path}, line {number}: {line[:60]!r} is not a row of a GTF or GFF3, with 9 tab-separated columns and "
                "the start in the fourth; the file also lacks the columns of a gene annotation (ensembl_id, symbol, "
                "chromosome, start, description)."
            )
        if columns[2] not in _PASSED_OVER:
            yield columns[2], columns[0], int(columns[3]), _attributes(columns[8])


def _attributes(text: str) -> dict[str, str]:
    """Parse the attributes of a row; several tags are joined by commas."""
    found: dict[str, str] = {}
    if "=" in text.partition('"')[0]:
        pairs = [(k.strip(), unquote(v.strip())) for k, eq, v in (p.partition("=") for p in text.split(";")) if eq]
    else:
        pairs = [(match[1], match[2] or match[3] or "") for match in _GTF.finditer(text)]
    for key, value in pairs:
        found.setdefault(key, value)
    if tags := [value for key, value in pairs if key == "tag"]:
        found["tag"] = ",".join(tags)
    return found

"""Map gene names to the rows of a gene table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anndata as ad
import numpy as np
import pandas as pd

from univerce.genes.gene_index import NOTHING, Found, GeneIndex
from univerce.genes.spellings import clean_names, date_symbols, split_genome, split_joined, without_suffix

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class NameMapping:
    """The gene of every name.

    Parameters
    ----------
    names
        ``[n_names]`` the names, without blanks around them.
    rows
        ``[n_names]`` int32, row of the gene table or -1.
    how
        ``[n_names]`` what matched: ``"symbol"``, ``"symbol_case"`` (ignoring case), ``"ensembl"``, ``"previous"`` or
        ``"alias"`` (a previous symbol or an alias, of the data or of the table), ``"prefix"`` (genome prefix removed),
        ``"dots"`` (dots of R for other characters), ``"joined"`` (symbol and identifier in one), ``"suffix"`` (suffix
        of a repeated name removed), ``"date"`` (a spreadsheet's date) or ``""``.
    collisions
        Names that match several genes when case is ignored: ``name``, ``gene_id`` and ``row`` of the chosen gene, and
        the ``gene_id`` of the ``others``.
    duplicates
        Genes matched by several names, whose counts have to be added: ``gene_id``, ``row``, ``names``.
    ambiguous
        Names without a gene because they may mean several, or are aliases of genes that have another name in the data:
        ``name``, ``genes``.
    """

    names: list[str]
    rows: np.ndarray
    how: np.ndarray
    collisions: pd.DataFrame
    duplicates: pd.DataFrame
    ambiguous: pd.DataFrame

    def __repr__(self) -> str:
        kinds = Counter(kind for kind in self.how if kind)
        found = ", ".join(f"{n:,} by {kind}" for kind, n in kinds.most_common())
        n_ambiguous = len(self.collisions) + len(self.ambiguous)
        return (
            f"NameMapping: {kinds.total():,} of {len(self.rows):,} names are genes{f' ({found})' if found else ''}, "
            f"{n_ambiguous:,} ambiguous, {len(self.duplicates):,} genes under several names"
        )


def map_names(names: Iterable[object], table: ad.AnnData) -> NameMapping:
    """Map gene names to genes: symbols and Ensembl, FlyBase or WormBase identifiers, in any mixture.

    A name is looked up as a symbol, as an identifier, as a symbol ignoring case, as a stable identifier without its
    version, and as a previous symbol or alias (human and mouse), whether the names or the table are older. If this
    fails, it is looked up without the prefix of a genome (``GRCh38_CD3D``), as a column of R (``HLA.A``), as a symbol
    and an identifier in one (``TP53_ENSG00000141510``), without the suffix of a repeated name (``TBCE-1``,
    ``PSMA2.1``), and as a date (``2-Sep``). Surrounding whitespace is ignored; missing and empty names match nothing.

    If several genes share a symbol, the one on the chromosome with the most genes is used, which avoids patches and
    alternative loci, and otherwise the first row. An alias or date that stands for several genes matches none of them.
    An alias (but not a previous symbol) is not used if its gene is among the names as well.

    Parameters
    ----------
    names
        ``[n_names]`` gene names.
    table
        Gene table; only ``obs`` and its species are read.

    Returns
    -------
    A mapping with ``rows`` ``[n_names]`` of the table (-1 without a gene), ``how`` each name matched, and data frames
    of ``collisions``, ``duplicates`` and ``ambiguous`` names.

    Examples
    --------
    >>> import univerce as uc
    >>> table = uc.genes.load_table("human")
    >>> mapping = map_names(["Actb", "ENSG00000141510.18", "MARCH3", "RP11-34P13.7"], table)
    >>> table.obs["symbol"].iloc[mapping.rows[:3]].tolist(), mapping.how.tolist()
    (['ACTB', 'TP53', 'MARCHF3'], ['symbol_case', 'ensembl', 'previous', ''])
    """
    return map_columns({"names": names}, table)[0]


def map_columns(columns: Mapping[str, Iterable[object]], table: ad.AnnData) -> tuple[NameMapping, np.ndarray]:
    """Map variables that are named in several columns; the first column that names a gene counts.

    Returns the mapping, with the names that were found or are ambiguous or else ``var_names``, and the column
    ``[n_names]`` that found each gene, ``""`` for none.
    """
    index = GeneIndex(table)
    written = {column: clean_names(names) for column, names in columns.items()}
    names = list(written.get("var_names", next(iter(written.values()))))
    found = [NOTHING] * len(names)
    source = np.full(len(names), "", dtype=object)
    for column, text in written.items():
        missing = [i for i, gene in enumerate(found) if gene.row < 0 and text[i]]
        for i, gene in _find_all(missing, text, found, index).items():
            found[i], names[i] = gene, text[i]
            source[i] = column if gene.row >= 0 else ""
    rows = np.array([gene.row for gene in found], dtype=np.int32)
    how = np.array([gene.how for gene in found], dtype=object)
    gene_ids = table.obs_names.to_numpy(dtype=object)
    mapping = NameMapping(
        names=names,
        rows=rows,
        how=how,
        collisions=_collisions(names, rows, how, index.upper_symbols, gene_ids),
        duplicates=_duplicates(names, rows, gene_ids),
        ambiguous=_ambiguous(names, found),
    )
    return mapping, source


def _find_all(
    missing: Sequence[int], names: Sequence[str], before: Sequence[Found], index: GeneIndex
) -> dict[int, Found]:
    """Find the genes of the missing variables, or the genes they may mean: first as written, then as changed."""
    found = {i: gene for i in missing if (gene := index.find(names[i])).row >= 0}
    rows = {name: gene.row for name, gene in zip(names, before, strict=True) if gene.row >= 0}
    rows |= {names[i]: gene.row for i, gene in found.items()}
    taken = set(rows.values())
    for i in missing:
        if i not in found and (gene := _find_changed(names[i], taken, index)) != NOTHING:
            found[i] = gene
    rows |= {names[i]: gene.row for i, gene in found.items() if gene.row >= 0}
    taken = set(rows.values())
    for i in missing:
        if i not in found and (last := _find_repeated(names[i], rows, index) or _find_date(names[i], taken, index)):
            found[i] = last
    return found


def _find_changed(name: str, taken: set[int], index: GeneIndex) -> Found:
    """Find a gene under another of its names, with the prefix of a genome, with dots, or under two names in one.

    An alias of a gene that the data have by its own name is another gene, or a protein.
    """
    if (found := index.find_other(name)) != NOTHING:
        own = found.how == "alias" and found.row in taken
        return Found(candidates=(index.upper_symbols[found.row],)) if own else found
    species, rest = split_genome(name)
    if species and species == index.species and (row := _find_row(rest, index)) >= 0:
        return Found(row, "prefix")
    if (row := index.find_dotted(name)) >= 0:
        return Found(row, "dots")
    rows = (_find_row(part, index) for part in split_joined(name))
    return next((Found(row, "joined") for row in rows if row >= 0), NOTHING)


def _find_row(name: str, index: GeneIndex) -> int:
    return max(index.find(name).row, index.find_other(name).row)


def _find_repeated(name: str, rows: Mapping[str, int], index: GeneIndex) -> Found | None:
    """Find the gene of a name that was made unique, among the names of the data or else among symbols as written."""
    while name := without_suffix(name):
        if (row := rows.get(name, index.find_symbol(name))) >= 0:
            return Found(row, "suffix")
    return None


def _find_date(name: str, taken: set[int], index: GeneIndex) -> Found | None:
    """Find the gene that a spreadsheet turned into a date: of two that one the data do not have by name."""
    genes = {symbol: row for symbol in date_symbols(name) if (row := _find_row(symbol, index)) >= 0}
    if len(genes) > 1:
        genes = {symbol: row for symbol, row in genes.items() if row not in taken} or genes
    if len(genes) == 1:
        return Found(next(iter(genes.values())), "date")
    return Found(candidates=tuple(genes)) if genes else None


def _collisions(
    names: Sequence[str], rows: np.ndarray, how: np.ndarray, upper_symbols: Sequence[str], gene_ids: np.ndarray
) -> pd.DataFrame:
    siblings = _repeated(upper_symbols)
    found = []
    for name, row, kind in zip(names, rows.tolist(), how, strict=True):
        if kind in ("symbol", "symbol_case") and (same := siblings.get(upper_symbols[row])):
            found.append((name, gene_ids[row], row, "; ".join(gene_ids[other] for other in same if other != row)))
    return pd.DataFrame(found, columns=["name", "gene_id", "row", "others"])


def _duplicates(names: Sequence[str], rows: np.ndarray, gene_ids: np.ndarray) -> pd.DataFrame:
    shared = sorted(_repeated(rows.tolist()).items())
    found = [(gene_ids[row], row, "; ".join(names[i] for i in same)) for row, same in shared if row >= 0]
    return pd.DataFrame(found, columns=["gene_id", "row", "names"])


def _repeated(values: Sequence[T]) -> dict[T, list[int]]:
    """Positions of the values that occur more than once."""
    found: dict[T, list[int]] = {value: [] for value, n in Counter(values).items() if n > 1}
    for i, value in enumerate(values):
        if value in found:
            found[value].append(i)
    return found


def _ambiguous(names: Sequence[str], found: Sequence[Found]) -> pd.DataFrame:
    unclear = [(name, "; ".join(gene.candidates)) for name, gene in zip(names, found, strict=True) if gene.candidates]
    return pd.DataFrame(unclear, columns=["name", "genes"])

"""Map gene names to the rows of a gene table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import anndata as ad
import numpy as np
import pandas as pd

# A stable identifier and what pipelines append: version, GENCODE's lift-over version, copy on the Y chromosome. It does
# not match symbols such as RP11-34P13.7 or T28F2.1.
_STABLE_ID = re.compile(r"([A-Z]{3,}\d{6,})(?:\.\d+)?(?:_\d+|[_-]PAR[_-]Y)?")


@dataclass(frozen=True, eq=False)
class NameMapping:
    """The gene of every name.

    Parameters
    ----------
    rows
        ``[n_names]`` int32, row of the gene table or -1.
    how
        ``[n_names]`` what matched: ``"symbol"``, ``"symbol_case"`` (ignoring case), ``"ensembl"`` or ``""``.
    collisions
        Names that match several genes when case is ignored: ``name``, ``gene_id`` and ``row`` of the chosen gene, and
        the ``gene_id`` of the ``others``.
    duplicates
        Genes matched by several names, whose counts have to be added: ``gene_id``, ``row``, ``names``.
    """

    rows: np.ndarray
    how: np.ndarray
    collisions: pd.DataFrame
    duplicates: pd.DataFrame

    def __repr__(self) -> str:
        kinds = Counter(kind for kind in self.how if kind)
        found = ", ".join(f"{n:,} by {kind}" for kind, n in kinds.most_common())
        return (
            f"NameMapping: {kinds.total():,} of {len(self.rows):,} names are genes{f' ({found})' if found else ''}, "
            f"{len(self.collisions):,} ambiguous, {len(self.duplicates):,} genes under several names"
        )


def map_names(names: Iterable[object], table: ad.AnnData) -> NameMapping:
    """Map gene names to genes: symbols and Ensembl, FlyBase or WormBase identifiers, in any mixture.

    A name is looked up as a symbol, as an identifier, as a symbol ignoring case, and as a stable identifier without its
    version. Surrounding whitespace is ignored; missing and empty names match nothing. Of several genes with one symbol
    the one on the chromosome with most genes wins, which avoids patches and alternative loci, then the first row.

    Parameters
    ----------
    names
        ``[n_names]`` gene names.
    table
        Gene table; only ``obs`` is read.

    Returns
    -------
    A mapping with ``rows`` ``[n_names]`` of the table (-1 without a gene), ``how`` each name matched, and data frames
    of ``collisions`` and ``duplicates``.

    Examples
    --------
    >>> import anndata as ad, pandas as pd
    >>> ids = ["ENSG00000141510", "ENSG00000075624"]
    >>> obs = pd.DataFrame({"symbol": ["TP53", "ACTB"], "ensembl_id": ids, "chromosome_code": [17, 7]}, index=ids)
    >>> table = ad.AnnData(obs=obs)
    >>> mapping = map_names(["Actb", "ENSG00000141510.18", "RP11-34P13.7"], table)
    >>> mapping.rows.tolist(), mapping.how.tolist()
    ([1, 0, -1], ['symbol_case', 'ensembl', ''])
    """
    written = clean_names(names)
    upper = [name.upper() for name in written]
    symbols = clean_names(table.obs["symbol"])
    upper_symbols = [symbol.upper() for symbol in symbols]
    code = table.obs["chromosome_code"]
    order = np.argsort(-code.map(code.value_counts()).to_numpy(), kind="stable").tolist()
    ids = _first_row([name.upper() for name in clean_names(table.obs["ensembl_id"])], order)

    rows = np.full(len(written), -1, dtype=np.int32)
    how = np.full(len(written), "", dtype=object)
    for label, keys, index in (
        ("symbol", written, _first_row(symbols, order)),
        ("ensembl", upper, ids),
        ("symbol_case", upper, _first_row(upper_symbols, order)),
        ("ensembl", [stable_id(name) for name in upper], ids),
    ):
        for i in np.flatnonzero(rows < 0):
            if (row := index.get(keys[i])) is not None:
                rows[i], how[i] = row, label
    gene_ids = table.obs_names.to_numpy(dtype=object)
    return NameMapping(
        rows=rows,
        how=how,
        collisions=_collisions(written, rows, how, upper_symbols, gene_ids),
        duplicates=_duplicates(written, rows, gene_ids),
    )


def clean_names(names: Iterable[object]) -> list[str]:
    """Convert names to stripped text; missing ones are ``""``."""
    values = names.to_numpy(dtype=object) if isinstance(names, pd.Series | pd.Index) else names
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


def _first_row(keys: Sequence[str], order: Sequence[int]) -> dict[str, int]:
    return {keys[row]: row for row in reversed(order) if keys[row]}


def _collisions(
    names: Sequence[str], rows: np.ndarray, how: np.ndarray, upper_symbols: Sequence[str], gene_ids: np.ndarray
) -> pd.DataFrame:
    siblings = pd.Series(range(len(upper_symbols))).groupby(np.array(upper_symbols, dtype=object)).indices
    found = []
    for name, row, kind in zip(names, rows.tolist(), how, strict=True):
        if kind in ("symbol", "symbol_case") and len(same := siblings[upper_symbols[row]]) > 1:
            found.append((name, gene_ids[row], row, "; ".join(gene_ids[other] for other in same if other != row)))
    return pd.DataFrame(found, columns=["name", "gene_id", "row", "others"])


def _duplicates(names: Sequence[str], rows: np.ndarray, gene_ids: np.ndarray) -> pd.DataFrame:
    by_row: dict[int, list[str]] = {}
    for name, row in zip(names, rows.tolist(), strict=True):
        by_row.setdefault(row, []).append(name)
    found = [
        (gene_ids[row], row, "; ".join(same)) for row, same in sorted(by_row.items()) if row >= 0 and len(same) > 1
    ]
    return pd.DataFrame(found, columns=["gene_id", "row", "names"])

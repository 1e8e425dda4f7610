"""Check a gene table before cells are embedded with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._validate import check_column
from univerce.genes.build.feature_report import feature_report
from univerce.genes.bundled_names import bundled_names
from univerce.genes.coverage import LOW_COVERAGE, Coverage, coverage
from univerce.genes.load import load_reference, registered_tables
from univerce.genes.lookup import map_names
from univerce.genes.release.registry import list_tables
from univerce.genes.spellings import clean_names
from univerce.genes.table import gene_table_info, validate_table

REFERENCES = ("human", "mouse")
_SAMPLED_CELLS = 1000
_MIN_ORTHOLOGUES = 10
_ALPHA = 0.01


@dataclass(frozen=True, eq=False)
class SpeciesReport:
    """Content of a gene table, and what looks wrong; see :func:`check_species`."""

    species: str
    encoder: str
    numbers: dict[str, int]
    orthologs: pd.DataFrame
    coverage: Coverage | None
    suspicions: list[str]

    def __str__(self) -> str:
        lines = [f"Gene table of species {self.species!r}, encoder {self.encoder}"]
        lines += [f"  {name:<38} {n:>9,}" for name, n in self.numbers.items()]
        lines += [
            f"  {f'nearest gene of {name} has its symbol':<38} {rate:>9.1%}  of {int(n):,}; chance {chance:.2%}"
            for name, rate, n, chance in self.orthologs.itertuples()
            if n  # symbols to compare
        ]
        if self.coverage is not None:
            lines += [
                f"  {'names of the data that are genes':<38} {self.coverage.fraction_mapped:>9.1%}",
                f"  {'counts of the data that are covered':<38} {self.coverage.fraction_counts:>9.1%}",
            ]
        return "\n".join([*lines, *(f"  suspicion: {text}" for text in self.suspicions)])

    def to_uns(self) -> dict[str, Any]:
        """Convert the report to a dictionary for h5ad and zarr, with the whole report as ``text``."""
        out: dict[str, Any] = {
            "numbers": dict(self.numbers),
            "orthologs": self.orthologs.copy(),
            "suspicions": np.array(self.suspicions, dtype=object),
            "text": str(self),
        }
        return out if self.coverage is None else out | {"coverage": self.coverage.to_uns()}


def check_species(
    table: ad.AnnData,
    adata: ad.AnnData | None = None,
    *,
    gene_key: str | None = None,
    references: Mapping[str, ad.AnnData] | None = None,
    n_sample: int = 1000,
    rng: int | np.random.Generator = 0,
) -> SpeciesReport:
    """Check the content of a gene table, its fit to a data set, and whether its features belong to its genes.

    Genes with the same symbol in two species should be nearest neighbors by feature far more often than by chance.
    Otherwise rows may be shifted against their features.

    Parameters
    ----------
    table
        Gene table, see :func:`build_species`.
    adata
        A data set of the species whose coverage (names and counts) is computed.
    gene_key
        Column of ``adata.var`` with the gene names; ``None`` is ``var_names``.
    references
        Gene tables of other species and the same encoder, by species; by default those of human and mouse that are
        bundled or cached, else two others in the cache.
    n_sample
        Number of genes whose orthologs are searched.
    rng
        Seed or :class:`numpy.random.Generator`.

    Returns
    -------
    A report to ``print``, with the attributes ``numbers`` (genes, chromosomes, and what was left out, by reason);
    ``orthologs``, by reference species the share of sampled genes whose nearest gene by feature has their symbol
    (``rate``), of how many (``n``), and the share expected at random (``chance``); ``coverage`` of ``adata``; and
    ``suspicions``, what is probably wrong and how to fix it.

    Raises
    ------
    ValueError
        If ``table`` is not a gene table, or the references are of another encoder.
    KeyError
        If ``gene_key`` is not a column of ``adata.var``.

    Examples
    --------
    >>> import univerce as uc
    >>> table = uc.genes.load_table("mouse")
    >>> report = uc.genes.check_species(table, uc.datasets.pbmc68k_reduced(), n_sample=100)
    >>> bool(report.orthologs.loc["human", "rate"] > 0.5)
    True
    >>> report.suspicions[0]
    "The names fit human better: ..."
    """
    from scipy.stats import binom  # slow to import

    validate_table(table)
    info = gene_table_info(table)
    species, encoder = str(info["species"]), str(info["encoder"])
    if references is None:
        references = _find_references(encoder, species)
    orthologs = _orthologs(table, species, references, n_sample, rng)
    covered = None if adata is None else _coverage(table, adata, gene_key)
    suspicions = [
        f"Genes are nearest to the {name} gene of their symbol no more often than by chance: rows and features may "
        "belong to different genes. Check the order of the vectors and the names of the proteins."
        for name, row in orthologs.iterrows()
        if row["n"] >= _MIN_ORTHOLOGUES
        and binom.sf(round(row["rate"] * row["n"]) - 1, row["n"], row["chance"]) > _ALPHA
    ]
    if covered is not None:
        if covered.fraction_counts < LOW_COVERAGE:
            suspicions.append(
                f"Only {covered.fraction_counts:.1%} of the counts of the data belong to genes of the table; most "
                f"lost: {', '.join(covered.lost['name'].head())}. {covered.suspicion or ''}".strip()
            )
        elif covered.suspicion:
            suspicions.append(covered.suspicion)
    return SpeciesReport(species, encoder, _numbers(table), orthologs, covered, suspicions)


def _find_references(encoder: str, species: str) -> dict[str, ad.AnnData]:
    found = {name: table for name in REFERENCES if (table := load_reference(name, encoder)) is not None}
    others = [name for name in list_tables(registered_tables(encoder)) if name != species][: len(REFERENCES)]
    return found or {name: table for name in others if (table := load_reference(name, encoder)) is not None}


def _numbers(table: ad.AnnData) -> dict[str, int]:
    symbols = pd.Series([symbol.upper() for symbol in clean_names(table.obs["symbol"])], dtype=str)
    info = gene_table_info(table)
    named = symbols[symbols != ""]
    return {
        "genes": table.n_obs,
        "genes without a symbol": int((symbols == "").sum()),
        "genes that share a symbol": int(named.duplicated(keep=False).sum()),
        "chromosomes": len(table.uns["chromosome_codes"]),
        "scaffolds pooled into one": int(info.get("n_scaffolds_pooled", 0)),
        **{str(reason): int(n) for reason, n in dict(table.uns.get("build", {})).items()},
    }


def _orthologs(
    table: ad.AnnData, species: str, references: Mapping[str, ad.AnnData], n_sample: int, rng: Any
) -> pd.DataFrame:
    rows = {}
    for name, reference in references.items():
        if name == species:
            continue
        found = feature_report({species: table, name: reference}, reference=name, n_sample=n_sample, rng=rng)
        rows[name] = (found.loc[species, "orthologs"], found.loc[species, "n_orthologs"], 1 / reference.n_obs)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["rate", "n", "chance"]).rename_axis("species")
    return frame.astype({"rate": float, "n": "int64", "chance": float})


def _coverage(table: ad.AnnData, adata: ad.AnnData, gene_key: str | None) -> Coverage:
    check_column("gene_key", gene_key, adata.var, "adata.var")
    names = adata.var_names if gene_key is None else adata.var[gene_key]
    counts = np.zeros(adata.n_vars) if adata.X is None else np.asarray(adata.X[:_SAMPLED_CELLS].sum(axis=0)).ravel()
    n_cells = min(adata.n_obs, _SAMPLED_CELLS)
    key = gene_key or "var_names"
    return coverage(map_names(names, table), counts, table, gene_key=key, n_cells=n_cells, others=bundled_names())

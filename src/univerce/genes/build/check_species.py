"""Is a gene table what it should be? Looked at before a single cell is embedded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy.stats import binom

from univerce.genes.build.feature_report import feature_report
from univerce.genes.coverage import LOW_COVERAGE, Coverage, coverage
from univerce.genes.load import load_reference, registered_tables
from univerce.genes.lookup import clean_names, map_names
from univerce.genes.names import bundled_names
from univerce.genes.release.registry import list_tables
from univerce.genes.table import gene_table_info, validate_table

REFERENCES = ("human", "mouse")
_SAMPLED_CELLS = 1000
_MIN_ORTHOLOGUES = 10
_ALPHA = 0.01


@dataclass(frozen=True, eq=False)
class SpeciesReport:
    """What is in a gene table, and what looks wrong.

    Parameters
    ----------
    species, encoder
        Of the table.
    numbers
        Genes; genes without a symbol, whose identifier is their name; genes that share a symbol with another when case
        is ignored; chromosomes, and scaffolds pooled into one of them; what the building of the table noted, such as
        proteins and genes left out, by reason.
    orthologues
        For each reference species the share of sampled genes whose nearest gene there, by feature, has their symbol
        (``rate``), of how many (``n``), and the share that features of no meaning would give (``chance``).
    coverage
        What the table covers of a data set, or ``None``.
    suspicions
        What is probably wrong and what to do about it; empty when all looks well.

    Examples
    --------
    >>> import univerce as uc
    >>> report = uc.genes.check_species(uc.genes.load_table("rat"), n_sample=100)
    >>> report.numbers["genes"] > 20_000, report.suspicions
    (True, [])
    """

    species: str
    encoder: str
    numbers: dict[str, int]
    orthologues: pd.DataFrame
    coverage: Coverage | None
    suspicions: list[str]

    def __str__(self) -> str:
        lines = [f"Gene table of species {self.species!r}, encoder {self.encoder}"]
        lines += [f"  {name:<38} {n:>9,}" for name, n in self.numbers.items()]
        lines += [
            f"  {f'nearest gene of {name} is its namesake':<38} {rate:>9.1%}  of {int(n):,}; chance {chance:.2%}"
            for name, rate, n, chance in self.orthologues.itertuples()
        ]
        if self.coverage is not None:
            lines += [
                f"  {'names of the data that are genes':<38} {self.coverage.fraction_mapped:>9.1%}",
                f"  {'counts of the data that are covered':<38} {self.coverage.fraction_counts:>9.1%}",
            ]
        return "\n".join([*lines, *(f"  suspicion: {text}" for text in self.suspicions)])

    def to_uns(self) -> dict[str, Any]:
        """The report as a dictionary that h5ad and zarr can hold.

        Returns
        -------
        ``numbers``, ``orthologues``, ``suspicions``, of a data set ``coverage``, and all as ``text``.
        """
        out: dict[str, Any] = {
            "numbers": dict(self.numbers),
            "orthologues": self.orthologues.copy(),
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
    """Look at a gene table: what it holds, whether it fits a data set, and whether its features belong to its genes.

    Rows that slipped against their features are caught by orthologues: genes of one symbol in two species should be
    each other's nearest by feature far more often than by chance. How often depends on the encoder and on the distance
    of the species; at the rate of chance something is wrong.

    Parameters
    ----------
    table
        A gene table, see :func:`univerce.genes.build_species`.
    adata
        A data set of the species, to see how many of its names and counts the table covers.
    gene_key
        Column of ``adata.var`` with the gene names; ``None`` is ``var_names``.
    references
        Gene tables of other species and the same encoder, by species. ``None`` takes those of human and mouse where
        they are at hand, and else two others of the cache.
    n_sample
        Genes whose orthologues are looked for.
    rng
        Seed, or a generator that is drawn from once.

    Returns
    -------
    The report; ``print`` it.

    Raises
    ------
    ValueError
        When ``table`` is no gene table, or the references are of another encoder.
    KeyError
        When ``gene_key`` is no column of ``adata.var``.

    Examples
    --------
    >>> import univerce as uc
    >>> table = uc.genes.load_table("mouse")
    >>> report = uc.genes.check_species(table, uc.datasets.pbmc68k_reduced(), n_sample=100)
    >>> bool(report.orthologues.loc["human", "rate"] > 0.5)
    True
    >>> report.suspicions[0]
    "The names fit human better: ..."
    """
    validate_table(table)
    info = gene_table_info(table)
    species, encoder = str(info["species"]), str(info["encoder"])
    if references is None:
        references = _at_hand(encoder, species)
    orthologues = _orthologues(table, species, references, n_sample, rng)
    covered = None if adata is None else _coverage(table, adata, gene_key)
    suspicions = [
        f"No more than chance of the genes are nearest to their namesakes of {name}: rows and features may belong to "
        "different genes, or the features mean nothing. Check the order of the vectors and the names of the proteins."
        for name, row in orthologues.iterrows()
        if row["n"] >= _MIN_ORTHOLOGUES
        and binom.sf(round(row["rate"] * row["n"]) - 1, row["n"], row["chance"]) > _ALPHA
    ]
    if covered is not None:
        if covered.fraction_counts < LOW_COVERAGE:
            suspicions.append(
                f"Only {covered.fraction_counts:.1%} of the counts of the data belong to genes of the table; lost "
                f"most: {', '.join(covered.lost['name'].head())}. {covered.suspicion or ''}".strip()
            )
        elif covered.suspicion:
            suspicions.append(covered.suspicion)
    return SpeciesReport(species, encoder, _numbers(table), orthologues, covered, suspicions)


def _at_hand(encoder: str, species: str) -> dict[str, ad.AnnData]:
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


def _orthologues(
    table: ad.AnnData, species: str, references: Mapping[str, ad.AnnData], n_sample: int, rng: Any
) -> pd.DataFrame:
    rows = {}
    for name, reference in references.items():
        if name == species:
            continue
        found = feature_report({species: table, name: reference}, reference=name, n_sample=n_sample, rng=rng)
        rows[name] = (found.loc[species, "orthologues"], found.loc[species, "n_orthologues"], 1 / reference.n_obs)
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["rate", "n", "chance"]).rename_axis("species")
    return frame.astype({"rate": float, "n": "int64", "chance": float})


def _coverage(table: ad.AnnData, adata: ad.AnnData, gene_key: str | None) -> Coverage:
    if gene_key is not None and gene_key not in adata.var:
        raise KeyError(f"gene_key={gene_key!r} is not in adata.var; its columns are: {', '.join(map(str, adata.var))}.")
    names = adata.var_names if gene_key is None else adata.var[gene_key]
    counts = np.zeros(adata.n_vars) if adata.X is None else np.asarray(adata.X[:_SAMPLED_CELLS].sum(axis=0)).ravel()
    return coverage(
        map_names(names, table), names, counts, table, gene_key=gene_key or "var_names",
        n_cells=min(adata.n_obs, _SAMPLED_CELLS), others=bundled_names(),
    )  # fmt: skip

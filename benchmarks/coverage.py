"""Share of the counts of protein-coding and immune receptor genes that are mapped, in every data set.

A variable is such a gene if its symbol or Ensembl id is in the annotations of ``gene_annotation`` (protein-coding and
IG/TR genes) in any case, or its symbol is one of their aliases or previous symbols, ambiguous or not, or a name that
the package maps. ``before`` looks names up as symbols and Ensembl ids alone, in tables without immune receptor genes
(bundled), or of the released gene list. The gene list of 2023 stands for the released tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import univerce as uc
from benchmarks.measurement import Run, check

GOAL = 0.99


def main(run: Run) -> None:
    """Measure all data sets of ``train`` and ``eval``."""
    source = run.data / "gene_annotation"
    names = _Names(source)
    released = _released_tables(run.data / "uce" / "species_chrom.csv")
    rows, missed, same = [], [], []
    for path in sorted(run.data.glob("*/*.h5ad")):
        adata = ad.read_h5ad(path)
        species = path.name.split("_")[0]
        counts = np.asarray(adata.X.sum(axis=0), dtype=float).ravel()
        written = [list(adata.var_names)]
        written += [list(adata.var["ensembl_id"].astype(str))] if "ensembl_id" in adata.var else []
        bundled = uc.genes.load_table(species)
        same.append(_same_identifiers(adata, bundled))
        tables = {"bundled": bundled} | ({"released": released[species]} if species in released else {})
        after = {which: _mapped(adata, table) for which, table in tables.items()}
        coding = names.coding(species, written) | after["bundled"]
        before = {which: names.plain(species, written, table, which) for which, table in tables.items()}
        total = counts[coding].sum()
        shares = {
            (when, which): float(counts[mask & coding].sum() / total)
            for when, masks in (("before", before), ("after", after))
            for which, mask in masks.items()
        }
        lost = pd.Series(np.where(coding & ~after["bundled"], counts, 0), index=adata.var_names) / total
        lost = lost[lost > 0].sort_values(ascending=False).head(3)
        remaining = ", ".join(f"{name} {share:.2%}" for name, share in lost.items())
        numbers = [
            f"{shares[when, which]:.2%}" if (when, which) in shares else ""
            for which in ("bundled", "released")
            for when in ("before", "after")
        ]
        rows.append((path.stem, f"{total / counts.sum():.1%}", *numbers, remaining))
        if species in ("human", "mouse"):
            missed += [(path.stem, key) for key, share in shares.items() if key[0] == "after" and share < GOAL]
    run.record(
        "coverage",
        "Counts of protein-coding and immune receptor genes that are mapped",
        ("data set", "share of all counts", "bundled before", "bundled", "released before", "released", "not found"),
        rows,
    )
    n, n_same = np.sum(same, axis=0)
    print(f"\nOf {n:,} previous symbols and aliases with an identifier of the table, {n_same / n:.1%} mean that gene.")
    check(ok=not missed, goal=f"{GOAL:.0%} of the counts of every human and mouse set, not in {missed}")


class _Names:
    """Names in the annotations, read anew: nothing of the package is used."""

    def __init__(self, source: Path) -> None:
        receptors = pd.read_csv(source / "immune_receptor_genes.tsv.gz", sep="\t", dtype=str, keep_default_na=False)
        aliases = pd.read_csv(source / "gene_aliases.tsv.gz", sep="\t", dtype=str, keep_default_na=False, quoting=3)
        self._protein: dict[str, set[str]] = {}
        self._all: dict[str, set[str]] = {}
        for path in source.glob("*.tsv.gz"):
            species = path.name.removesuffix(".tsv.gz")
            if species in uc.genes.available_species():
                genes = uc.genes.read_annotation(path)
                more = receptors[receptors["species"] == species]
                other = aliases.loc[aliases["species"] == species, "name"]
                self._protein[species] = _upper([*genes["symbol"], *genes["ensembl_id"]])
                self._all[species] = self._protein[species] | _upper([*more["symbol"], *more["ensembl_id"], *other])

    def coding(self, species: str, written: Sequence[Sequence[str]]) -> np.ndarray:
        """Variables that are genes by any name."""
        return _any_in(written, self._all[species])

    def plain(self, species: str, written: Sequence[Sequence[str]], table: ad.AnnData, which: str) -> np.ndarray:
        """Variables that are found by symbol or Ensembl id in ``var_names``, or else in the other column."""
        released = _upper([*table.obs["symbol"], *table.obs["ensembl_id"]])
        known = self._protein[species] if which == "bundled" else released
        found = [_any_in([names], known) for names in written]
        return found[0] if found[0].mean() >= 0.5 else max(found, key=np.sum)


def _upper(names: Sequence[str]) -> set[str]:
    return {name.upper() for name in names} - {""}


def _any_in(written: Sequence[Sequence[str]], known: set[str]) -> np.ndarray:
    upper = [[name.upper() for name in names] for names in written]
    return np.any([[name in known or name.split(".")[0] in known for name in names] for names in upper], axis=0)


def _same_identifiers(adata: ad.AnnData, table: ad.AnnData) -> tuple[int, int]:
    """Count names found as previous symbol or alias whose identifier is in the table, and those of one gene by both."""
    if "ensembl_id" not in adata.var:
        return 0, 0
    by_name, by_id = uc.genes.map_names(adata.var_names, table), uc.genes.map_names(adata.var["ensembl_id"], table)
    both = np.isin(by_name.how, ["previous", "alias"]) & (by_id.rows >= 0)
    return int(both.sum()), int((by_name.rows == by_id.rows)[both].sum())


def _mapped(adata: ad.AnnData, table: ad.AnnData) -> np.ndarray:
    bare = ad.AnnData(adata.X, obs=adata.obs[[]], var=adata.var)
    uc.pp.map_genes(bare, table)
    return bare.var["uce_gene"].to_numpy() != ""


def _released_tables(path: Path) -> dict[str, ad.AnnData]:
    """Gene tables of human and mouse with the symbols of the released list and the Ensembl ids of a conversion."""
    positions = pd.read_csv(path, dtype=str, keep_default_na=False)
    tables = {}
    for species in ("human", "mouse"):
        genes = positions[positions["species"] == species].drop_duplicates("gene_symbol")
        symbols = genes["gene_symbol"].to_list()
        known = uc.genes.load_table(species).obs.assign(symbol=lambda obs: obs["symbol"].astype(str).str.upper())
        known = known[(known["ensembl_id"] != "") & ~known["symbol"].duplicated(keep=False)].set_index("symbol")
        codes, chromosomes = pd.factorize(genes["chromosome"], sort=True)
        tables[species] = uc.genes.make_table(
            pd.DataFrame(
                {
                    "symbol": symbols,
                    "ensembl_id": known["ensembl_id"].reindex(symbols, fill_value="").to_numpy(),
                    "chromosome": genes["chromosome"].to_numpy(),
                    "start": genes["start"].astype(int).to_numpy(),
                    "chromosome_code": codes,
                }
            ),
            np.ones((len(genes), 1), dtype=np.float32),
            species=species,
            encoder="none",
            source="species_chrom.csv",
            special_features=np.zeros((4, 1), dtype=np.float32),
            chromosome_names=chromosomes,
            chromosome_codes=np.arange(len(chromosomes)),
            chromosome_features=np.ones((len(chromosomes), 1), dtype=np.float32),
        )
    return tables

"""Build what the package ships on gene names: the bundled gene tables, and other names of genes.

Reads ``gene_annotation``, ``uce/species_chrom.csv`` and gene lists of ``train`` of the real data, takes a minute, and
writes to ``out=DIR``, by default the directory of the package. The text encoder is fitted to the protein-coding genes
alone: immune receptor genes change neither its name nor the features of other genes.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import univerce as uc
from benchmarks.immune_receptors import read_immune_receptors
from benchmarks.measurement import Run, check, print_table
from univerce.genes.build.other_names import write_other_names
from univerce.genes.other_names import read_other_names
from univerce.genes.release.registry import BUNDLED_TABLES

WITH_IMMUNE_RECEPTORS = ("human", "mouse", "zebrafish")
SOURCE = "Ensembl 114"
# Data sets with all genes of one annotation.
GENE_LISTS = {
    "human": ("human_lung_luad_s100a4", "human_malt_lymphoma_streak", "human_pbmc4k_soupx"),
    "mouse": ("mouse_heart_e18_1k_v2_pegasus", "mouse_villus_enterocytes_novosparc"),
}


def main(run: Run) -> None:
    """Build the tables, compare them with those of the package, and write them."""
    source = run.data / "gene_annotation"
    species = ("chicken", "dog", "fly", "human", "macaca_mulatta", "mouse", "pig", "rat", "worm", "zebrafish")
    genes = {name: uc.genes.read_annotation(source / f"{name}.tsv.gz") for name in species}
    receptors = {
        name: read_immune_receptors(source / "immune_receptor_genes.tsv.gz", name) for name in WITH_IMMUNE_RECEPTORS
    }
    tables = uc.genes.text_tables(genes, uc.genes.TextEncoder(), source=SOURCE, further=receptors)
    write_names(run, tables)
    write_tables(run, tables, receptors)


def write_names(run: Run, tables: dict[str, ad.AnnData]) -> None:
    """Write previous symbols and aliases; a name that a gene list has beside the symbol it should mean is left out."""
    positions = pd.read_csv(run.data / "uce" / "species_chrom.csv", dtype=str, keep_default_na=False)
    lists = {
        species: [
            positions.loc[positions["species"] == species, "gene_symbol"],
            *(ad.read_h5ad(run.data / "train" / f"{name}.h5ad", backed="r").var_names for name in names),
        ]
        for species, names in GENE_LISTS.items()
    }
    paths = write_other_names(
        run.data / "gene_annotation" / "gene_aliases.tsv.gz",
        _out(run) / "gene_names",
        symbols={species: tables[species].obs["symbol"] for species in GENE_LISTS},
        lists=lists,
    )
    rows = []
    for species, path in paths.items():
        names = read_other_names(path)
        rows.append((species, len(names.symbols), len(names.previous), len(names.ambiguous), path.stat().st_size))
    print_table("Other names", ("", "names", "previous", "ambiguous", "bytes"), rows)


def write_tables(run: Run, tables: dict[str, ad.AnnData], receptors: dict[str, pd.DataFrame]) -> None:
    """Write the gene tables, and check that other genes keep their features."""
    rows = []
    for name, table in tables.items():
        bundled = uc.genes.load_table(name)
        shared = bundled.obs_names.intersection(table.obs_names)
        equal = float(np.mean(table[shared].X == bundled[shared].X))
        path = _out(run) / "uce-mini" / "tables" / f"{name}.zarr.zip"
        if not (path.is_file() and table.uns["gene_table"]["digest"] == bundled.uns["gene_table"]["digest"]):
            uc.genes.write_table(table, path)
        encoders = {t.uns["gene_table"]["encoder"] for t in (table, bundled)}
        rows.append((name, bundled.n_obs, table.n_obs, len(receptors.get(name, ())), len(encoders) == 1, equal))
        print(f"{path} {path.stat().st_size:,} bytes")
    print_table("Gene tables", ("", "genes before", "genes", "immune receptors", "same encoder", "equal entries"), rows)
    check(ok=all(row[4] and row[5] > 0.999 for row in rows), goal="other genes keep their features")


def _out(run: Run) -> Path:
    return Path(run.option("out", str(BUNDLED_TABLES.parents[1])))

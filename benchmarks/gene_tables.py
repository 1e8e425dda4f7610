"""Build the bundled gene tables from ``gene_annotation`` of the real data, in a minute.

Writes to ``out=DIR``, by default the tables of the package. The text encoder is fitted to the protein-coding genes
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
from univerce.genes.release.registry import BUNDLED_TABLES

WITH_IMMUNE_RECEPTORS = ("human", "mouse", "zebrafish")
SOURCE = "Ensembl 114"


def main(run: Run) -> None:
    """Build the tables, compare them with those of the package, and write them."""
    source = run.data / "gene_annotation"
    species = ("chicken", "dog", "fly", "human", "macaca_mulatta", "mouse", "pig", "rat", "worm", "zebrafish")
    genes = {name: uc.genes.read_annotation(source / f"{name}.tsv.gz") for name in species}
    receptors = {
        name: read_immune_receptors(source / "immune_receptor_genes.tsv.gz", name) for name in WITH_IMMUNE_RECEPTORS
    }
    tables = uc.genes.text_tables(genes, uc.genes.TextEncoder(), source=SOURCE, further=receptors)
    write_tables(run, tables, receptors)


def write_tables(run: Run, tables: dict[str, ad.AnnData], receptors: dict[str, pd.DataFrame]) -> None:
    """Write the gene tables, and check that other genes keep their features."""
    out, rows = Path(run.option("out", str(BUNDLED_TABLES))), []
    for name, table in tables.items():
        bundled = uc.genes.load_table(name)
        shared = bundled.obs_names.intersection(table.obs_names)
        equal = float(np.mean(table[shared].X == bundled[shared].X))
        path = out / f"{name}.zarr.zip"
        if not (path.is_file() and table.uns["gene_table"]["digest"] == bundled.uns["gene_table"]["digest"]):
            uc.genes.write_table(table, path)
        encoders = {t.uns["gene_table"]["encoder"] for t in (table, bundled)}
        rows.append((name, bundled.n_obs, table.n_obs, len(receptors.get(name, ())), len(encoders) == 1, equal))
        print(f"{path} {path.stat().st_size:,} bytes")
    print_table("Gene tables", ("", "genes before", "genes", "immune receptors", "same encoder", "equal entries"), rows)
    check(ok=all(row[4] and row[5] > 0.999 for row in rows), goal="other genes keep their features")

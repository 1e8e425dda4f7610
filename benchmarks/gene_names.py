"""Build the files of other names from ``gene_annotation/gene_aliases.tsv.gz`` of the real data.

Writes to ``out=DIR``, by default the directory of the package. Gene lists of several years (``uce/species_chrom.csv``,
and training sets with all genes of one annotation) tell which names are genes of their own.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import pandas as pd

import univerce as uc
from benchmarks.measurement import Run, print_table
from univerce.genes.build.other_names import write_other_names
from univerce.genes.other_names import GENE_NAMES, read_other_names

GENE_LISTS = {
    "human": (
        "human_embryo_blakeley_e6_bower", "human_lung_luad_s100a4", "human_lung_tabulasapiens_scontomatch",
        "human_malt_lymphoma_streak", "human_pbmc4k_soupx", "human_pbmc_pisces",
    ),
    "mouse": (
        "mouse_heart_e18_1k_v2_pegasus", "mouse_kit_hpc_tusi_spring", "mouse_villus_enterocytes_novosparc",
    ),
}  # fmt: skip


def main(run: Run) -> None:
    """Write the files and print how many names they have."""
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
        Path(run.option("out", str(GENE_NAMES))),
        symbols={species: uc.genes.load_table(species).obs["symbol"] for species in GENE_LISTS},
        lists=lists,
    )
    rows = []
    for species, path in paths.items():
        names = read_other_names(path)
        rows.append((species, len(names.symbols), len(names.previous), len(names.ambiguous), path.stat().st_size))
    print_table("Other names", ("", "names", "previous symbols", "ambiguous", "bytes"), rows)

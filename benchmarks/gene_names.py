"""Build the files of other names from ``gene_annotation/gene_aliases.tsv.gz`` of the real data.

Writes to ``out=DIR``, by default the directory of the package. Gene lists of several years (``uce/species_chrom.csv``,
and training sets with all genes of one annotation) tell which names are genes of their own.
"""

from __future__ import annotations

import csv
import lzma
from collections.abc import Iterable, Mapping
from pathlib import Path

import anndata as ad
import pandas as pd

import univerce as uc
from benchmarks.measurement import Run, print_table
from univerce.genes.gene_index import GENE_NAMES, read_other_names
from univerce.genes.spellings import is_date
from univerce.io.atomic import write_whole

_COLUMNS = ("species", "name", "symbol", "kind", "n_symbols")

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


def write_other_names(
    path: Path | str,
    out_dir: Path | str,
    *,
    symbols: Mapping[str, Iterable[str]],
    lists: Mapping[str, Iterable[Iterable[str]]] | None = None,
) -> dict[str, Path]:
    """Write ``<out_dir>/<species>.tsv.xz`` from a tab-separated table of other names.

    Its columns are ``species``, ``name``, ``symbol``, ``kind`` (``"previous"`` or ``"alias"``) and ``n_symbols``, of
    which more than one makes a name ambiguous. Names and symbols are written in upper case. A name that is a current
    symbol or a date is left out, and so is one that a gene list has with the symbol it should mean: it is another gene.

    Parameters
    ----------
    path
        Table, plain or gzipped.
    out_dir
        Directory of the files.
    symbols
        Current symbols by species.
    lists
        Gene lists by species, each of one annotation, current or not.

    Returns
    -------
    Species to path.
    """
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
    if missing := [column for column in _COLUMNS if column not in table]:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.columns)}.")
    written = {}
    for species, current in symbols.items():
        names = table[table["species"] == species]
        names = names.assign(name=names["name"].str.strip().str.upper(), symbol=names["symbol"].str.upper())
        names = names.sort_values("kind", ascending=False).drop_duplicates(["name", "symbol"])  # previous before alias
        names = names[~names["name"].isin({symbol.upper() for symbol in current}) & ~names["name"].map(is_date)]
        ambiguous = names["name"].duplicated(keep=False) | (names["n_symbols"].astype(int) > 1)
        names = names.assign(kind=names["kind"].where(~ambiguous, "ambiguous"))
        for one in (lists or {}).get(species, ()):
            genes = {name.upper() for name in one}
            two = names["name"].isin(genes) & names["symbol"].isin(genes)
            names = names[~two | (names["kind"] == "ambiguous")]
        names = names.sort_values(["symbol", "name"])[["name", "symbol", "kind"]]
        text = "".join(f"{name}\t{symbol}\t{kind}\n" for name, symbol, kind in names.itertuples(index=False))
        written[species] = Path(out_dir) / f"{species}.tsv.xz"
        write_whole(written[species], lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    return written

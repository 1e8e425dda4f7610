"""``univerce species``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from univerce.cli._commands import add_command
from univerce.cli._files import say

_OPTIONS = (
    "fasta", "taxonomy_id", "encoder", "annotation", "isoforms", "like", "max_chromosomes", "dtype", "work_dir",
    "overwrite",
)  # fmt: skip


def add(commands: Any) -> None:
    """Add the commands."""
    actions = commands.add_parser("species", help="Gene tables of new species.").add_subparsers(
        required=True, metavar="ACTION"
    )
    text = "Build the gene table of a species from its proteins; an interrupted call is resumed."
    build = add_command(actions, "build", _build, text, device=True)
    build.add_argument("species", metavar="SPECIES", help="chicken, or a new name such as axolotl")
    build.add_argument("--fasta", type=Path, help="proteins, for example an Ensembl *.pep.all.fa.gz")
    build.add_argument("--annotation", type=Path, help="GTF or GFF3 with positions, if the headers have none")
    build.add_argument("--taxonomy-id", type=int, help="NCBI taxonomy identifier (not needed for known species)")
    build.add_argument(
        "--encoder", default="esm2_t48_15B_UR50D", help="an ESM2 checkpoint or its directory, or a file of vectors"
    )
    build.add_argument("--isoforms", default="mean", help="mean, longest, or canonical (default: mean)")
    build.add_argument("--check", type=Path, metavar="H5AD", help="cells of the species, to report the coverage")
    build.add_argument("--like", type=Path, help="gene table of the same encoder to share special tokens with")
    build.add_argument("--max-chromosomes", type=int, default=255, help="more are pooled (default: 255)")
    build.add_argument("--dtype", default="float16", help="float16 or float32 (default: float16)")
    build.add_argument("--work-dir", type=Path, help="directory for finished blocks")
    build.add_argument("-o", "--output", type=Path, help="*.h5ad or *.zarr.zip (default: the cache)")
    build.add_argument("--overwrite", action="store_true", help="replace an existing table")


def _build(args: argparse.Namespace) -> None:
    import anndata as ad

    from univerce import genes

    began = time.perf_counter()
    adata = None if args.check is None else ad.read_h5ad(args.check, backed="r")
    options = {name: vars(args)[name] for name in _OPTIONS}
    table = genes.build_species(args.species, adata=adata, out=args.output, **options)
    say(table.uns["species_report"]["text"])
    where = table.filename if args.output is None else args.output
    print(f"{where}: {table.n_obs:,} genes of {args.species}, in {time.perf_counter() - began:.1f} s")

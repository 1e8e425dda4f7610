"""``univerce species``."""

from __future__ import annotations

import argparse
import time
from typing import Any

from univerce.cli._commands import RESUMED, add_command, add_group, at_least, path, place
from univerce.cli._files import read, say

_EXAMPLES = """
univerce species build chicken --fasta Gallus_gallus.pep.all.fa.gz
univerce species build axolotl --fasta proteins.fa --annotation genes.gtf --taxonomy-id 8296 --encoder text
"""
_OPTIONS = (
    "fasta", "taxonomy_id", "encoder", "annotation", "isoforms", "like", "max_chromosomes", "dtype", "work_dir",
    "overwrite",
)  # fmt: skip


def add(commands: Any) -> None:
    """Add the commands."""
    actions = add_group(commands, "species", "Gene tables of new species.", _EXAMPLES)
    text = "Build the gene table of a species from its proteins. Interrupted runs resume."
    build = add_command(actions, "build", _build, text, device=True, resumed=RESUMED)
    build.add_argument("species", metavar="SPECIES", help="chicken, or a new name such as axolotl")
    build.add_argument("--fasta", type=path, help="proteins, for example an Ensembl *.pep.all.fa.gz")
    build.add_argument("--annotation", type=path, help="GTF or GFF3 with positions, if the headers have none")
    build.add_argument("--taxonomy-id", type=at_least(1), help="NCBI taxonomy identifier, not needed for known species")
    build.add_argument(
        "--encoder", type=place, default="esm2_t48_15B_UR50D",
        help="an ESM2 checkpoint or its directory, or a file of vectors",
    )  # fmt: skip
    build.add_argument("--isoforms", default="mean", choices=("mean", "longest", "canonical"), help="default: mean")
    build.add_argument("--check", type=path, metavar="IN", help="cells of the species, to report the coverage")
    build.add_argument("--like", type=path, help="gene table of the same encoder to take special tokens from")
    build.add_argument("--max-chromosomes", type=at_least(1), default=255, help="more are pooled (default: 255)")
    build.add_argument("--dtype", default="float16", choices=("float16", "float32"), help="default: float16")
    build.add_argument("--work-dir", type=path, help="directory for finished blocks")
    build.add_argument("-o", "--output", type=path, help="*.h5ad or *.zarr.zip (default: the cache)")
    build.add_argument("--overwrite", action="store_true", help="replace an existing table")


def _build(args: argparse.Namespace) -> None:
    from univerce import genes

    began = time.perf_counter()
    adata = None if args.check is None else read(args.check, backed=True)
    options = {name: vars(args)[name] for name in _OPTIONS}
    table = genes.build_species(args.species, adata=adata, out=args.output, **options)
    say(table.uns["species_report"]["text"])
    where = table.filename if args.output is None else args.output
    print(f"{where}: {table.n_obs:,} genes of {args.species}, in {time.perf_counter() - began:.1f} s")

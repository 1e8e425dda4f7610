"""``univerce embed``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from univerce.cli._commands import add_command
from univerce.cli._files import check_paths, read, say, write, write_copy
from univerce.io.atomic import replacing

if TYPE_CHECKING:
    import anndata as ad

_OPTIONS = ("model", "layer", "gene_key", "sampling", "n_draws", "key_added", "padding", "store")


def add(commands: Any) -> None:
    """Add the command."""
    embed = add_command(commands, "embed", _embed, "Embed the cells of a file.", device=True)
    embed.add_argument("input", type=Path, metavar="IN", help="raw counts: .h5ad or .zarr")
    embed.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help=".h5ad or .zarr")
    embed.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    embed.add_argument("--backed", action="store_true", help="leave X of an .h5ad on disk; OUT must be an .h5ad")
    embed.add_argument("--species", help="human, mouse, ..., or a column of obs")
    embed.add_argument("--model", help="a name of `univerce models list`, hf://owner/name, or a directory")
    embed.add_argument("--table", type=Path, nargs="+", help="gene tables to use instead of --species")
    embed.add_argument("--layer", help="layer with the counts (default: X)")
    embed.add_argument("--gene-key", help="var column with the gene names (default: var_names)")
    embed.add_argument("--key-added", default="X_uce", help="key of the embedding in obsm (default: X_uce)")
    embed.add_argument("--padding", default="masked", help="masked, or official (as the reference implementation)")
    embed.add_argument("--sampling", help="systematic or multinomial (default: as the model was trained)")
    embed.add_argument("--n-draws", type=int, default=1, help="sentences per cell, averaged (default: 1)")
    embed.add_argument("--seed", type=int, default=0, help="default: 0")
    embed.add_argument("--store", type=Path, help="directory to resume an interrupted run from")


def _embed(args: argparse.Namespace) -> None:
    check_paths(args.input, args.output, backed=args.backed, overwrite=args.overwrite)

    from univerce import tl

    adata = read(args.input, backed=args.backed)
    say(f"{args.input}: {adata.n_obs:,} cells, {adata.n_vars:,} variables")
    began = time.perf_counter()
    options = {name: vars(args)[name] for name in _OPTIONS}
    tl.uce_embed(adata, species=args.table or args.species, rng=args.seed, **options)
    seconds = time.perf_counter() - began
    if args.store is not None:
        _copy_from_store(adata, args.store, args.key_added)
    with replacing(args.output) as part:
        if args.backed:
            write_copy(adata, args.key_added, source=args.input, path=part)
        else:
            write(adata, part, zarr=args.output.suffix == ".zarr")
    n, dim = adata.obsm[args.key_added].shape
    print(f"{args.output}: obsm[{args.key_added!r}] of {n:,} cells, {dim} dimensions, in {seconds:.1f} s")


def _copy_from_store(adata: ad.AnnData, store: Path, key: str) -> None:
    import anndata

    done = anndata.read_zarr(store)
    adata.obsm[key] = done.obsm[key]
    adata.uns[key] = done.uns[key]
    for column in done.obs:
        adata.obs[column] = done.obs[column]

"""``univerce embed``."""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from univerce._keys import RECORDS
from univerce.cli._commands import RESUMED, add_command, at_least, path, place
from univerce.cli._files import FORMATS, check_paths, choose_modality, columns, read, say, write, write_copy
from univerce.io.atomic import replacing

if TYPE_CHECKING:
    import anndata as ad

_OPTIONS = ("model", "layer", "gene_key", "sampling", "n_draws", "key_added", "padding", "store")
_EXAMPLES = """
univerce embed cells.h5ad -o cells_uce.h5ad --species human
univerce embed cells.h5ad -o cells_uce.h5ad --species organism --layer counts
univerce embed cellxgene.h5ad -o cells_uce.h5ad --layer raw
univerce embed filtered_feature_bc_matrix/ -o cells_uce.zarr --species mouse
univerce embed multiome.h5mu -o multiome_uce.h5mu --mod rna --species human
univerce embed cells.h5ad -o cells_uce.h5ad --species human --model uce-tiny --store unfinished.zarr
"""


def add(commands: Any) -> None:
    """Add the command."""
    embed = add_command(commands, "embed", _embed, "Embed the cells of a file.", examples=_EXAMPLES, device=True)
    embed.add_argument("input", type=path, metavar="IN", help=f"raw counts: {FORMATS}")
    embed.add_argument(
        "-o", "--output", type=path, required=True, metavar="OUT", help=".h5ad or .zarr, or .h5mu if IN is one"
    )
    embed.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    embed.add_argument("--backed", action="store_true", help="leave X of an .h5ad on disk; OUT must be an .h5ad")
    embed.add_argument("--species", type=place, help="human, mouse, ..., or a column of obs")
    embed.add_argument("--force", action="store_true", help="embed even if the gene names fit another species better")
    embed.add_argument("--model", type=place, help="a name of `univerce models list`, hf://owner/name, or a directory")
    embed.add_argument("--table", type=path, nargs="+", help="gene tables to use instead of --species")
    embed.add_argument("--layer", help="layer with the counts, or raw (default: X)")
    embed.add_argument("--mod", help="modality of an .h5mu with the counts")
    embed.add_argument("--gene-key", help="var column with the gene names (default: var_names)")
    embed.add_argument("--key-added", default="X_uce", help="key of the embedding in obsm (default: X_uce)")
    embed.add_argument(
        "--padding", default="masked", choices=("masked", "official"),
        help="official reproduces the reference implementation (default: masked)",
    )  # fmt: skip
    embed.add_argument(
        "--sampling", choices=("systematic", "multinomial"), help="sampling of genes (default: that of the model)"
    )
    embed.add_argument("--n-draws", type=at_least(1), default=1, help="sentences per cell, averaged (default: 1)")
    embed.add_argument("--seed", type=at_least(0), default=0, help="default: 0")
    embed.add_argument("--store", type=path, metavar="DIR", help="directory to resume an interrupted run from")


def _embed(args: argparse.Namespace) -> None:
    args.resumed = RESUMED if args.store else "With --store DIR interrupted runs can be resumed."
    _check(args)

    from univerce import tl
    from univerce.genes.coverage import DoubtfulNames

    data = read(args.input, backed=args.backed)
    mod = choose_modality(data, args.mod, args.input)
    adata = data if mod is None else data.mod[mod]
    say(f"{args.input}: {adata.n_obs:,} cells, {adata.n_vars:,} variables")
    began = time.perf_counter()
    options = {name: vars(args)[name] for name in _OPTIONS}
    if not args.force:
        warnings.simplefilter("error", DoubtfulNames)
    try:
        tl.uce_embed(data, species=args.table or args.species, mod=mod, rng=args.seed, **options)
    except DoubtfulNames as doubt:
        raise ValueError(f"{doubt} If you are sure, add --force.") from doubt
    seconds = time.perf_counter() - began
    if args.store is not None:
        _copy_from_store(adata, args.store, args.key_added)
    with replacing(args.output) as part:
        if args.backed:
            write_copy(adata, args.key_added, source=args.input, path=part)
        else:
            write(data if args.output.suffix == ".h5mu" else adata, part, args.output.suffix)
    n, dim = adata.obsm[args.key_added].shape
    print(f"{args.output}: obsm[{args.key_added!r}] of {n:,} cells, {dim} dimensions, in {seconds:.1f} s")


def _check(args: argparse.Namespace) -> None:
    """Refuse arguments that cannot work, the cheapest first: before torch is imported, and before cells are read."""
    check_paths(args.input, args.output, backed=args.backed, overwrite=args.overwrite)
    if args.store is not None and args.store.resolve() == args.output.resolve():
        raise ValueError(f"{args.output} is the --store; write to another path.")
    for table in args.table or ():
        if not table.exists():
            raise FileNotFoundError(f"There is no gene table {table}.")

    from univerce.inference.inputs import check_drawing
    from univerce.model.find import check_name, reads_sentences

    check_name(args.model)
    defaults = {"sampling": None, "n_draws": 1, "padding": "masked"}
    check_drawing(args.model, **{name: (vars(args)[name], default) for name, default in defaults.items()})
    _check_names(args)
    if args.device not in (None, "auto", "cpu") and reads_sentences(args.model):
        from univerce._device import choose_device

        choose_device()


def _check_names(args: argparse.Namespace) -> None:
    """Refuse names of species and columns that the file does not have, without reading it."""
    from univerce.genes.load import BUNDLED_MODEL, available_species
    from univerce.genes.species import find_species, resolve_species

    if not (here := columns(args.input)):
        return
    obs, var, layers = (here.get(key) for key in ("obs", "var", "layers"))
    known = available_species(args.model or BUNDLED_MODEL)
    if args.species and obs is not None and args.species not in obs and not find_species(args.species, extra=known):
        try:
            resolve_species(args.species, extra=known)
        except ValueError as error:
            raise ValueError(f"{error} Nor is it a column of obs: {', '.join(obs)}.") from None
    if args.gene_key and var is not None and args.gene_key not in var:
        raise ValueError(f"--gene-key {args.gene_key} is not a column of var: {', '.join(var)}.")
    if args.layer not in (None, "X", "raw", *(layers or ())):
        raise ValueError(f"--layer {args.layer} is not in the file; its layers are: {', '.join(layers or ['none'])}.")


def _copy_from_store(adata: ad.AnnData, store: Path, key: str) -> None:
    import anndata

    done = anndata.read_zarr(store)
    adata.obsm[key] = done.obsm[key]
    adata.uns[RECORDS] = {**adata.uns.get(RECORDS, {}), **done.uns[RECORDS]}
    for column in done.obs:
        adata.obs[column] = done.obs[column]

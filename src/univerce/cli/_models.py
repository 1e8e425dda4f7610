"""``univerce models``."""

from __future__ import annotations

import argparse
from typing import Any

from univerce.cli._commands import RESUMED, add_command, add_group, at_least, path, place
from univerce.cli._files import FORMATS, check_input, read

_MODEL = "a name that `univerce models list` lists, hf://owner/name[@revision], or a directory"


_EXAMPLES = """
univerce models list
univerce models info uce-33l
univerce models card uce-33l
univerce models fetch uce-4l --species human mouse
univerce models verify uce-4l
univerce models convert hf://minwoosun/uce-100m -o uce-100m --species human
"""


def add(commands: Any) -> None:
    """Add the commands."""
    models = add_group(commands, "models", "The public UCE checkpoints.", _EXAMPLES)
    add_command(models, "list", _list, "List the models, and which of them are cached.")
    info = add_command(models, "info", _info, "Show the record of a model: source, license, sizes and species.")
    card = add_command(models, "card", _card, "Write the model card of a model, in the format of the Hugging Face hub.")
    for command in (info, card):
        command.add_argument("name", metavar="NAME", help="a name that `univerce models list` lists")
    text = "Download and convert a model, for use offline."
    fetch = add_command(models, "fetch", _fetch, text, resumed=RESUMED)
    fetch.add_argument("model", type=place, metavar="MODEL", help=_MODEL)
    fetch.add_argument("--species", nargs="+", default=[], help="also convert the gene tables of these species")
    convert = add_command(models, "convert", _convert, "Convert a checkpoint and its gene tables.")
    convert.add_argument("source", type=place, metavar="SOURCE", help=f"{_MODEL} or file in any public layout")
    convert.add_argument("-o", "--output", type=path, required=True, metavar="DIR", help="a new directory")
    convert.add_argument("--species", nargs="+", help="default: all of the checkpoint")
    convert.add_argument(
        "--id", nargs="+", default=[], metavar="NAME=VALUE", dest="ids",
        help="special tokens that the checkpoint does not state, such as chrom_token_offset=1000",
    )  # fmt: skip
    _add_verify(models)


def _list(args: argparse.Namespace) -> None:
    from univerce.genes.release.fetch import human_size
    from univerce.model.listing import list_models

    table = list_models()
    for column in ("download_bytes", "disk_bytes"):
        table[column.removesuffix("_bytes")] = [human_size(int(size)) for size in table[column]]
    table["species"] = [len(species.split(", ")) for species in table["species"]]
    columns = ["name", "family", "layers", "width", "vocabulary", "species", "download", "disk", "cached"]
    shown = table[columns].astype(object)
    print(shown.where(shown.notna(), "").to_string(index=False))


def _info(args: argparse.Namespace) -> None:
    from univerce.model.listing import list_models

    table = list_models().set_index("name")
    if args.name not in table.index:
        raise ValueError(f"There is no model {args.name!r} on record; the names are {', '.join(table.index)}.")
    for key, value in table.loc[args.name].items():
        print(f"{key}: {value}")


def _card(args: argparse.Namespace) -> None:
    from univerce.model.card import model_card

    print(model_card(args.name), end="")


def _fetch(args: argparse.Namespace) -> None:
    from univerce.genes import load_table
    from univerce.model.find import find_model

    print(find_model(args.model))
    for species in args.species:
        table = load_table(species, model=args.model)
        print(f"{species}: {table.n_obs:,} genes in {table.filename}")


def _convert(args: argparse.Namespace) -> None:
    from univerce.model.convert import convert_checkpoint

    ids = dict(_pair(text) for text in args.ids)
    print(convert_checkpoint(args.source, args.output, species=args.species, ids=ids or None))


def _pair(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if not value.isdecimal():
        raise ValueError(f"--id {text!r} must be NAME=NUMBER, such as chrom_token_offset=1000.")
    return name, int(value)


def _add_verify(actions: Any) -> None:
    text = "Check on a few cells that weights, vocabulary and tokens of a model belong together."
    verify = add_command(actions, "verify", _verify, text, device=True)
    verify.add_argument("model", type=place, metavar="MODEL", help="a name, or a directory")
    verify.add_argument(
        "--cells", type=path, metavar="IN", help=f"raw counts: {FORMATS} (default: 700 bundled human blood cells)"
    )
    verify.add_argument("--species", help="human, mouse, ..., or a column of obs")
    verify.add_argument("--layer", help="layer with the counts (default: X)")
    verify.add_argument("--gene-key", help="var column with the gene names (default: var_names)")
    verify.add_argument("--n-cells", type=at_least(1), default=200, help="cells to use (default: 200)")
    verify.add_argument("--seed", type=at_least(0), default=0, help="default: 0")


def _verify(args: argparse.Namespace) -> None:
    if args.cells is not None:
        check_input(args.cells)

    from univerce import datasets
    from univerce.model import verify
    from univerce.model.find import check_name

    check_name(args.model)
    cells = datasets.pbmc68k_reduced() if args.cells is None else read(args.cells, backed=True)
    found = verify(
        args.model, cells, args.species, layer=args.layer, gene_key=args.gene_key, n_cells=args.n_cells, rng=args.seed
    )
    print(found)
    if not found.ok:
        hint = " Pass --cells with all genes and several types." if args.cells is None else ""
        raise ValueError(f"{found.model!r} does not pass on these cells, see above.{hint}")

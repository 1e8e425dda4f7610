"""``univerce assets``."""

from __future__ import annotations

import argparse
from typing import Any

from univerce.cli._commands import add_command


def add(commands: Any) -> None:
    """Add the commands."""
    assets = commands.add_parser("assets", help="The released models and gene tables.").add_subparsers(
        required=True, metavar="ACTION"
    )
    add_command(assets, "list", _list_assets, "List the released files and which of them are here.")
    fetch = add_command(assets, "fetch", _fetch_assets, "Download released files into the cache.")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="a name that `univerce assets list` lists")
    convert = add_command(assets, "convert", _convert_assets, "Convert a released model and its gene tables.")
    convert.add_argument("--model", default="uce-4l", help="uce-4l or uce-33l (default: uce-4l)")
    convert.add_argument("--species", nargs="+", help="default: all eight that were released")


def _list_assets(args: argparse.Namespace) -> None:
    from univerce import genes

    print(genes.list_assets().to_string(index=False))


def _fetch_assets(args: argparse.Namespace) -> None:
    from univerce import genes

    for name in args.names:
        print(genes.fetch(name))


def _convert_assets(args: argparse.Namespace) -> None:
    from univerce import genes
    from univerce.model.find import find_model

    for species, path in genes.convert_released(species=args.species, model=args.model).items():
        print(f"{species}: {path}")
    print(f"{args.model}: {find_model(args.model).path}")

"""``univerce assets``."""

from __future__ import annotations

import argparse
from typing import Any

from univerce.cli._commands import add_command


def add(commands: Any) -> None:
    """Add the commands."""
    assets = commands.add_parser("assets", help="The files of the release of 2023.").add_subparsers(
        required=True, metavar="ACTION"
    )
    add_command(assets, "list", _list_assets, "List the released files and which of them are here.")
    fetch = add_command(assets, "fetch", _fetch_assets, "Download released files into the cache.")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="a name that `univerce assets list` lists")


def _list_assets(args: argparse.Namespace) -> None:
    from univerce import genes

    print(genes.list_assets().to_string(index=False))


def _fetch_assets(args: argparse.Namespace) -> None:
    from univerce import genes

    for name in args.names:
        print(genes.fetch(name))

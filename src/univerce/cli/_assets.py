"""``univerce assets``."""

from __future__ import annotations

import argparse
from typing import Any

from univerce.cli._commands import RESUMED, add_command, add_group

_EXAMPLES = """
univerce assets list
univerce assets fetch species_chrom.csv species_offsets.pkl
"""


def add(commands: Any) -> None:
    """Add the commands."""
    assets = add_group(commands, "assets", "The files that the authors released in 2023.", _EXAMPLES)
    add_command(assets, "list", _list_assets, "List the released files, and which of them are cached.")
    text = "Download released files into the cache."
    fetch = add_command(assets, "fetch", _fetch_assets, text, resumed=RESUMED)
    fetch.add_argument("names", nargs="+", metavar="NAME", help="a name that `univerce assets list` lists")


def _list_assets(args: argparse.Namespace) -> None:
    from univerce import genes

    print(genes.list_assets().to_string(index=False))


def _fetch_assets(args: argparse.Namespace) -> None:
    from univerce import genes

    for name in args.names:
        print(genes.fetch(name))

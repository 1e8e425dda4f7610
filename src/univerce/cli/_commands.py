"""How a command is added to the parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Run = Callable[[argparse.Namespace], None]


def add_command(commands: Any, name: str, run: Run, text: str, *, device: bool = False) -> argparse.ArgumentParser:
    """Add a command with the options that all of them have.

    Parameters
    ----------
    commands
        What ``add_subparsers`` returned.
    name
        Of the command.
    run
        Called with the parsed arguments.
    text
        Its help.
    device
        Add ``--device`` and ``--precision``.

    Returns
    -------
    The parser of the command, for its own arguments.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is found, chosen and left out")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if device:
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
        parser.add_argument("--precision", default="auto", help="auto, float32, bfloat16")
    return parser

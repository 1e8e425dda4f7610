"""Add a command to the parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], text: str, *, device: bool = False
) -> argparse.ArgumentParser:
    """Add a command with the options of all commands; ``device`` adds ``--device``, ``--precision``, ``--batch-size``.

    ``commands`` is what ``add_subparsers`` returned, ``run`` is called with the parsed arguments.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    parser.add_argument("-v", "--verbose", action="store_true", help="report what was found, chosen and left out")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if device:
        parser.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (default: auto)")
        parser.add_argument("--precision", help="auto, float32, bfloat16 (default: auto)")
        parser.add_argument("--batch-size", type=_batch_size, help="cells per batch, or auto (default: auto)")
    return parser


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else int(text)

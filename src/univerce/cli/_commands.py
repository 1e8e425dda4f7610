"""Add a command to the parser, and the types of its arguments."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

RESUMED = "Repeat the command to resume."


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help shows examples."""

    def __init__(self, *, examples: str = "", **options: Any) -> None:
        if examples:
            options["epilog"] = f"examples:\n{textwrap.indent(textwrap.dedent(examples).strip(), '  ')}"
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self.set_defaults(parser=self)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see `{self.prog} --help`)\n")


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], None],
    text: str,
    *,
    examples: str = "",
    device: bool = False,
    resumed: str = "",
) -> argparse.ArgumentParser:
    """Add a command with the options of all commands; ``device`` adds ``--device``, ``--precision``, ``--batch-size``.

    ``commands`` is what ``add_subparsers`` returned, ``run`` is called with the parsed arguments, ``resumed`` is said
    after an interrupt.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, examples=examples)
    parser.set_defaults(run=run, resumed=resumed)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars")
    parser.add_argument("-v", "--verbose", action="store_true", help="report what was found, chosen and left out")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if device:
        parser.add_argument("--device", type=device_name, help="auto, cpu, cuda, cuda:1, mps (default: auto)")
        parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), help="default: auto")
        parser.add_argument("--batch-size", type=_batch_size, help="cells per batch, or auto (default: auto)")
    return parser


def add_group(commands: Any, name: str, text: str, examples: str) -> Any:
    """Add a command that has commands of its own."""
    group = commands.add_parser(name, help=text, description=text, examples=examples)
    return group.add_subparsers(metavar="ACTION")


def path(text: str) -> Path:
    """A path, in which ``~`` is the home directory."""
    return Path(text).expanduser()


def place(text: str) -> str:
    """A name, or a path in which ``~`` is the home directory."""
    return str(path(text)) if text.startswith("~") else text


def at_least(least: int) -> Callable[[str], int]:
    """The type of an integer of at least ``least``."""

    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least {least}")
        return int(text)

    return whole


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else at_least(1)(text)


def device_name(text: str) -> str:
    """A device of torch, which need not be there."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not known; use auto, cpu, cuda, cuda:1 or mps")
    return text

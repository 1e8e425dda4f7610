"""Add a command to the parser, the types of its arguments, and messages in the words of the shell."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

RESUMED = "Repeat the command to resume."

_OF_PYTHON = {"rng": "seed", "out": "output", "adata": "check"}
"""Parameters that an option has another name than."""
_FILES = ("input", "config", "cells")
"""Arguments that name the file of a command."""
_VALUE = r"""(?P<value>"[^"]*"|'[^']*'|True|[\w.:-]*\w)?"""


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


def in_shell_words(text: str, parser: argparse.ArgumentParser) -> str:
    """Write the parameters of a message as the options of a command, on one line."""
    flags = {a.dest: a.option_strings[-1] for a in parser._actions if a.option_strings}
    flags |= {name: flags[dest] for name, dest in _OF_PYTHON.items() if dest in flags}
    text = " ".join(text.split())
    names = "|".join(sorted(flags, key=len, reverse=True))
    parameter = rf"(?<![\w.])(?<!\w\()(?:uc\.settings\.)?\b({names})(?: = |=(?!=)){_VALUE}"  # not in a call
    text = re.sub(parameter, lambda match: _flag(match, flags), text)
    return re.sub(r"(?<![\w~\[(])adata\.(?=(X|obs|var|uns|layers|obsm|raw)\b)", "", text)


def _flag(match: re.Match[str], flags: dict[str, str]) -> str:
    flag, value = flags[match[1]], (match["value"] or "").strip("\"'")
    return flag if value in ("", "True") else f"{flag} {shlex.quote(value)}"


def complain(text: str, args: argparse.Namespace, kind: str) -> None:
    """Print an error or a warning on one line of stderr, with the file that it is about."""
    text = in_shell_words(text, args.parser)
    paths = {name: str(value) for name, value in vars(args).items() if isinstance(value, Path)}
    named = any(path in text for path in paths.values())
    about = "" if named else next((f"{paths[name]}: " for name in _FILES if name in paths), "")
    print(f"univerce: {kind}: {about}{text}", file=sys.stderr)

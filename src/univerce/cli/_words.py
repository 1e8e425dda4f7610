"""Messages in the words of the shell: ``--species human`` for ``species="human"``."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path

_OF_PYTHON = {"rng": "seed", "out": "output", "adata": "check"}
"""Parameters that an option has another name than."""
_FILES = ("input", "config", "cells")
"""Arguments that name the file of a command."""
_VALUE = r"""(?P<value>"[^"]*"|'[^']*'|True|[\w.:-]*\w)?"""


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

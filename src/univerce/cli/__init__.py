"""The command line: ``univerce embed``, ``species``, ``pretrain``, ``models``, ``assets`` and ``demo``.

Commands import what is slow to import.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from univerce._settings import settings
from univerce._version import __version__
from univerce.cli import _assets, _demo, _embed, _models, _pretrain, _species
from univerce.cli._commands import Parser, complain

_EXAMPLES = """
univerce demo
univerce embed cells.h5ad -o cells_uce.h5ad --species human
univerce embed filtered_feature_bc_matrix/ -o cells_uce.h5ad --species mouse --model uce-33l
univerce models list
univerce embed --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with ``argv``, or the arguments of the process.

    Returns the exit status: 0, 2 after an error (one line on stderr), or 130 after an interrupt.

    Examples
    --------
    >>> from univerce.cli import main
    >>> main(["embed", "cells.h5ad", "-o", "cells.h5ad"])
    2
    """
    args = _parser().parse_args(argv)
    if "run" not in args:
        args.parser.print_help()
        return 0
    wanted = ({"progress": False} if args.quiet else {}) | ({"verbosity": "hint"} if args.verbose else {})
    wanted |= {name: vars(args)[name] for name in ("device", "precision", "batch_size") if vars(args).get(name)}

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        complain(str(message), args, "warning")

    try:
        with settings.override(**wanted), warnings.catch_warnings():
            if not args.debug:
                warnings.showwarning = show
                for programmers in (FutureWarning, DeprecationWarning):
                    warnings.simplefilter("ignore", programmers)
            args.run(args)
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(f"univerce: interrupted. {args.resumed}".rstrip(), file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            raise
        complain(_described(error), args, "error")
        return 2
    return 0


def _described(error: Exception) -> str:
    """The message of an error; of one that is not expected also its type."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # the text of a KeyError is the repr of its message
    if isinstance(error, ValueError | TypeError | OSError | ImportError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"There is not enough memory. {error}".strip()
    return f"{type(error).__name__}: {error} (add --debug for the traceback)"


def _parser() -> argparse.ArgumentParser:
    text = "Universal cell embeddings for the scverse."
    parser = Parser(prog="univerce", description=text, examples=_EXAMPLES)
    parser.add_argument("--version", action="version", version=f"univerce {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    for command in (_embed, _models, _species, _pretrain, _assets, _demo):
        command.add(commands)
    return parser

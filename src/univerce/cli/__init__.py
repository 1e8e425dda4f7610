"""The command line: ``univerce embed``, ``species``, ``pretrain``, ``models``, ``assets`` and ``demo``.

Commands import what is slow to import.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from univerce._settings import settings
from univerce._version import __version__
from univerce.cli import _assets, _demo, _embed, _models, _pretrain, _species


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with ``argv``, or the arguments of the process.

    Returns the exit status: 0, or 2 after an error of arguments or data (one line on stderr).

    Examples
    --------
    >>> from univerce.cli import main
    >>> main(["embed", "cells.h5ad", "-o", "cells.h5ad"])
    2
    """
    args = _parser().parse_args(argv)
    wanted = ({"progress": False} if args.quiet else {}) | ({"verbosity": "info"} if args.verbose else {})
    wanted |= {name: vars(args)[name] for name in ("device", "precision", "batch_size") if vars(args).get(name)}
    try:
        with settings.override(**wanted):
            args.run(args)
    except (ValueError, KeyError, TypeError, OSError, ImportError) as error:
        if args.debug:
            raise
        # The text of a KeyError is the repr of its message.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"univerce: error: {' '.join(str(message).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("univerce: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="univerce", description="Universal cell embeddings for the scverse.")
    parser.add_argument("--version", action="version", version=f"univerce {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (_embed, _models, _species, _pretrain, _assets, _demo):
        command.add(commands)
    return parser

"""``univerce models verify``."""

from __future__ import annotations

import argparse
from typing import Any

from univerce.cli._commands import add_command, at_least, path, place
from univerce.cli._inputs import FORMATS, check_input, read


def add(actions: Any) -> None:
    """Add the command to those of ``univerce models``."""
    text = "Check on a few cells that weights, vocabulary and tokens of a model belong together."
    verify = add_command(actions, "verify", _verify, text, device=True)
    verify.add_argument("model", type=place, metavar="MODEL", help="a name, or a directory")
    verify.add_argument(
        "--cells", type=path, metavar="IN", help=f"raw counts: {FORMATS} (default: 700 bundled human blood cells)"
    )
    verify.add_argument("--species", help="human, mouse, ..., or a column of obs")
    verify.add_argument("--layer", help="layer with the counts (default: X)")
    verify.add_argument("--gene-key", help="var column with the gene names (default: var_names)")
    verify.add_argument("--n-cells", type=at_least(1), default=200, help="cells to use (default: 200)")
    verify.add_argument("--seed", type=at_least(0), default=0, help="default: 0")


def _verify(args: argparse.Namespace) -> None:
    if args.cells is not None:
        check_input(args.cells)

    from univerce import datasets
    from univerce.model import verify
    from univerce.model.find import check_name

    check_name(args.model)
    cells = datasets.pbmc68k_reduced() if args.cells is None else read(args.cells, backed=True)
    found = verify(
        args.model, cells, args.species, layer=args.layer, gene_key=args.gene_key, n_cells=args.n_cells, rng=args.seed
    )
    print(found)
    if not found.ok:
        hint = " Pass --cells with all genes and several types." if args.cells is None else ""
        raise ValueError(f"{found.model!r} does not pass on these cells, see above.{hint}")

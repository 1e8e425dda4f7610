"""``univerce models verify``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from univerce.cli._commands import add_command
from univerce.cli._files import read


def add(actions: Any) -> None:
    """Add the command to those of ``univerce models``."""
    text = "Check on a few cells that the weights, the vocabulary and the tokens of a model belong together."
    verify = add_command(actions, "verify", _verify, text, device=True)
    verify.add_argument("model", metavar="MODEL", help="a name, or a directory")
    verify.add_argument(
        "--cells", type=Path, metavar="IN", help="raw counts: .h5ad or .zarr (default: 700 bundled human blood cells)"
    )
    verify.add_argument("--species", help="human, mouse, ..., or a column of obs")
    verify.add_argument("--layer", help="layer with the counts (default: X)")
    verify.add_argument("--gene-key", help="var column with the gene names (default: var_names)")
    verify.add_argument("--n-cells", type=int, default=200, help="cells to use (default: 200)")
    verify.add_argument("--seed", type=int, default=0, help="default: 0")


def _verify(args: argparse.Namespace) -> None:
    from univerce import datasets
    from univerce.model import verify

    cells = datasets.pbmc68k_reduced() if args.cells is None else read(args.cells, backed=args.cells.suffix == ".h5ad")
    found = verify(
        args.model, cells, args.species, layer=args.layer, gene_key=args.gene_key, n_cells=args.n_cells, rng=args.seed
    )
    print(found)
    if not found.ok:
        raise ValueError(f"{found.model!r} does not pass on these cells, see above.")

"""``python -m benchmarks NAME ... [--data DIR] [--docs DIR] [OPTION=VALUE ...]``."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
from pathlib import Path

from benchmarks.measurement import Run

NAMES = (
    "tokenizer", "mini", "four_layer", "forward_profile", "workers", "scale", "growth", "draws", "atlas", "esm2",
    "gpu", "quality", "transfer", "species", "ablations", "robustness", "outliers", "coverage", "selection",
    "label_statistics", "label_fit", "discovery_statistics", "statistics", "servers", "memory", "data_types", "kills",
)  # fmt: skip
# only if named: they write files of the package, or 20 GB, or take half an hour
BUILDS = (
    "gene_tables", "gene_names", "cell_ontology", "fit", "tiny", "checkpoints", "fuzz", "damaged_files",
    "transfer_figure", "compressed",
)  # fmt: skip


def main() -> None:
    """Run the measurements that are named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed, memory and quality.")
    parser.add_argument("what", nargs="*", metavar="NAME|OPTION=VALUE", help=f"{', '.join(NAMES)}; default: all")
    parser.add_argument("--data", type=Path, default=os.environ.get("UNIVERCE_TEST_DATA"), help="the real data sets")
    parser.add_argument("--docs", type=Path, help="write the tables of the documentation to this directory")
    args = parser.parse_args()
    options = dict(word.split("=", 1) for word in args.what if "=" in word)
    names = [word for word in args.what if "=" not in word] or NAMES
    if unknown := set(names) - {*NAMES, *BUILDS}:
        parser.error(f"unknown measurement {sorted(unknown)[0]!r}; choose from {', '.join((*NAMES, *BUILDS))}")
    with tempfile.TemporaryDirectory(prefix="univerce-benchmarks-") as scratch:
        run = Run(args.data and Path(args.data).resolve(), args.docs, Path(scratch), options)
        for name in names:
            importlib.import_module(f"benchmarks.{name}").main(run)
    if unread := set(options) - run.read:
        parser.error(f"no measurement reads the option {sorted(unread)[0]!r}")


if __name__ == "__main__":
    main()

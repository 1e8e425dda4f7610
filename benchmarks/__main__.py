"""``python -m benchmarks NAME ... [--data DIR] [--docs DIR] [OPTION=VALUE ...]``."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
from pathlib import Path

from benchmarks.measurement import Run

NAMES = (
    "tokenizer", "mini", "four_layer", "forward_profile", "workers", "scale", "growth", "atlas", "esm2", "gpu",
    "label_fit", "memory",
)  # fmt: skip
"""Speed and memory, without real data."""
# only if named: they need real data, much time or disk, an earlier commit, or write files of the package
ON_REQUEST = (
    "draws", "quality", "transfer", "species", "ablations", "robustness", "outliers", "coverage", "selection",
    "label_statistics", "discovery_statistics", "statistics", "servers", "data_types", "kills", "gene_tables",
    "gene_names", "cell_ontology", "fit", "tiny", "checkpoints", "fuzz", "damaged_files", "transfer_figure",
    "compressed", "paired",
)  # fmt: skip


def main() -> None:
    """Run the measurements that are named, or those of speed and memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed, memory and quality.")
    parser.add_argument("what", nargs="*", metavar="NAME|OPTION=VALUE", help=f"default: {', '.join(NAMES)}")
    parser.add_argument("--data", type=Path, default=os.environ.get("UNIVERCE_TEST_DATA"), help="the real data sets")
    parser.add_argument("--docs", type=Path, help="write the tables of the documentation to this directory")
    args = parser.parse_args()
    options = dict(word.split("=", 1) for word in args.what if "=" in word)
    names = [word for word in args.what if "=" not in word] or NAMES
    if unknown := set(names) - {*NAMES, *ON_REQUEST}:
        parser.error(f"unknown measurement {sorted(unknown)[0]!r}; choose from {', '.join((*NAMES, *ON_REQUEST))}")
    with tempfile.TemporaryDirectory(prefix="univerce-benchmarks-") as scratch:
        run = Run(args.data and Path(args.data).resolve(), args.docs, Path(scratch), options)
        for name in names:
            began = time.perf_counter()
            importlib.import_module(f"benchmarks.{name}").main(run)
            print(f"\n{name} took {time.perf_counter() - began:,.0f} s", flush=True)
    if unread := set(options) - run.read:
        parser.error(f"no measurement reads the option {sorted(unread)[0]!r}")


if __name__ == "__main__":
    main()

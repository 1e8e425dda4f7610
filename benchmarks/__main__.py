"""``python -m benchmarks NAME ... [--data DIR] [--docs DIR] [OPTION=VALUE ...]``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.measurement import Run

NAMES = (
    "tokenizer", "mini", "startup", "four_layer", "forward_profile", "workers", "scale", "growth", "atlas", "esm2",
    "gpu", "label_fit", "memory", "reading",
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
    read, missed = set(), []
    with (
        tempfile.TemporaryDirectory(prefix="univerce-benchmarks-") as scratch,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool,
    ):
        run = Run(args.data and Path(args.data).resolve(), args.docs, Path(scratch), options)
        for name in names:
            try:
                read |= pool.submit(run.measure, name).result()
            except SystemExit as error:
                missed.append(f"{name}: {error}")
    if missed:
        raise SystemExit("\n".join(missed))
    if unread := set(options) - read:
        parser.error(f"no measurement reads the option {sorted(unread)[0]!r}")


if __name__ == "__main__":
    main()

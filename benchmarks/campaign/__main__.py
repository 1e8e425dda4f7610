"""``python -m benchmarks.campaign CONFIG``: every method on real data; what was computed is read again."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.campaign.config import read_config
from benchmarks.campaign.report import html_report
from benchmarks.campaign.run import Outcome, run_config
from benchmarks.campaign.tables import write_tables


def main(argv: Sequence[str] | None = None) -> None:
    """Run a campaign."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.campaign", description="Benchmark methods on real data."
    )
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="a .toml with [[data]], [[method]] and [[transfer]]"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="root of the paths in CONFIG (default: its data_dir)")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.html, scores.csv, runs.csv, tables.md")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="write the tables as Markdown")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="default: those of CONFIG, or 0 1 2")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="kept embeddings (default: the cache of CONFIG)")
    args = parser.parse_args(argv)
    try:
        config = read_config(args.config, args.data)
    except (ValueError, TypeError, OSError) as error:
        parser.error(str(error))
    config = dataclasses.replace(
        config, cache=args.cache or config.cache, seeds=tuple(args.seeds or config.seeds),
        umap=config.umap and args.report is not None,
    )  # fmt: skip
    outcomes = run_config(config, lambda text: print(text, file=sys.stderr))
    tables = write_tables(outcomes)
    print(tables)
    if args.tables is not None:
        args.tables.write_text(tables)
    if args.report is not None:
        write_report(outcomes, tables, args.report)


def write_report(outcomes: Sequence[Outcome], tables: str, out: Path) -> None:
    """Write the report, its tables, and all scores and runs."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.html").write_text(html_report(outcomes))
    (out / "tables.md").write_text(tables)
    for key, name in (("table", "scores"), ("runs", "runs")):
        parts = [o.adata.uns[o.key][key].assign(data=o.name) for o in outcomes]
        pd.concat(parts, ignore_index=True).to_csv(out / f"{name}.csv", index=False)
    print(f"Wrote {out / 'report.html'}", file=sys.stderr)


if __name__ == "__main__":
    main()

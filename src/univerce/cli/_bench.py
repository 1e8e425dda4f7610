"""``univerce bench``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from univerce.cli._commands import add_command
from univerce.cli._files import replacing, say


def add(commands: Any) -> None:
    """Add the command."""
    bench = add_command(
        commands, "bench", _bench, "Benchmark embeddings on real data; what was computed is read again."
    )
    bench.add_argument("config", type=Path, metavar="CONFIG", help="a .toml with [[data]], [[method]] and [[transfer]]")
    bench.add_argument(
        "--data", type=Path, metavar="DIR", help="where the paths of CONFIG begin (default: its data_dir)"
    )
    bench.add_argument(
        "--report", type=Path, metavar="DIR", help="write report.html, scores.csv, runs.csv and tables.md"
    )
    bench.add_argument("--tables", type=Path, metavar="FILE", help="write the tables alone, as Markdown")
    bench.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="default: what CONFIG says, or 0 1 2")
    bench.add_argument("--cache", type=Path, metavar="DIR", help="kept embeddings (default: what CONFIG says)")


def _bench(args: argparse.Namespace) -> None:
    import dataclasses

    from univerce.bench._campaign import run_config
    from univerce.bench._config import read_config
    from univerce.bench._markdown import write_tables

    config = read_config(args.config, args.data)
    if args.cache is not None:
        config = dataclasses.replace(config, cache=args.cache)
    if args.seeds is not None:
        config = dataclasses.replace(config, seeds=tuple(args.seeds))
    if args.report is None:
        config = dataclasses.replace(config, umap=False)
    outcomes = run_config(config, say)
    tables = write_tables(outcomes)
    print(tables)
    if args.tables is not None:
        with replacing(args.tables) as part:
            part.write_text(tables)
    if args.report is not None:
        _write_report(outcomes, tables, args.report)


def _write_report(outcomes: Any, tables: str, out: Path) -> None:
    import pandas as pd

    from univerce.bench._html import html_report

    out.mkdir(parents=True, exist_ok=True)
    texts = {"report.html": html_report(outcomes), "tables.md": tables}
    for name in ("scores", "runs"):
        parts = [o.adata.uns[o.key][name].assign(data=o.name) for o in outcomes]
        texts[f"{name}.csv"] = pd.concat(parts, ignore_index=True).to_csv(index=False)
    for name, text in texts.items():
        with replacing(out / name) as part:
            part.write_text(text)
    say(f"Wrote {out / 'report.html'}")

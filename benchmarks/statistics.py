"""Null and power simulations of the tests, by topic; ``only=NAME;...`` runs some of them.

A topic is a function of :data:`TOPICS` that yields tables ``(title, header, rows)``, in a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.differential_expression import simulate as differential_expression
from benchmarks.dispersion_variants import simulate as dispersion_variants
from benchmarks.measurement import Run

Table = tuple[str, Sequence[str], Sequence[Sequence[object]]]
TOPICS: dict[str, Callable[[Run], Iterator[Table]]] = {
    "differential_expression": differential_expression,
    "dispersion_variants": dispersion_variants,
}


def main(run: Run) -> None:
    """Run the topics, and write their tables to one page."""
    names = (run.option("only") or ";".join(TOPICS)).split(";")
    tables = [table for name in names for table in TOPICS[name](run)]
    for i, table in enumerate(tables):
        run.record("statistics", *table, append=i > 0)

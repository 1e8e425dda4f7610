"""Hours, files and bytes of large atlases, from measured rates.

``python -m benchmarks.sizing docs/measured`` reads ``rates.json``, which ``nox -s perf`` wrote there, and writes
``sizing.md`` beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from univerce.model import find_model
from univerce.model.config import UCE_4L
from univerce.tl.uce_embed import BLOCK_ROWS

SIZES = {"1M": 10**6, "36M": 36 * 10**6, "1B": 10**9}
GENES_A_CELL = 1000
CSR_BYTES = 8  # of a stored count: float32 and int32, before compression


def sizing(rates: dict[str, float]) -> str:
    """The table, a row for each stage or size and a column for each number of cells."""

    def core_hours(rate: float, threads: float = 1) -> list[str]:
        return [_number(threads * n / rate / 3600) for n in SIZES.values()]

    def gigabytes(each: float) -> list[str]:
        return [_number(n * each / 1e9) for n in SIZES.values()]

    mini = find_model().config
    rows = [
        ("core hours of reading", core_hours(rates["read"])),
        ("core hours of tokenizing", core_hours(rates["tokenize"])),
        ("core hours of `uce-mini`, whole call", core_hours(rates["uce-mini"], rates["threads"])),
        ("core hours of `uce-4l` in bfloat16", core_hours(rates["forward uce-4l bfloat16"], rates["threads"])),
        ("core hours of `uce-33l` in bfloat16", core_hours(rates["forward uce-33l bfloat16"], rates["threads"])),
        (f"GB of counts as CSR, {GENES_A_CELL:,} genes per cell, uncompressed", gigabytes(GENES_A_CELL * CSR_BYTES)),
        *(
            (f"GB of the embedding of {name}, {what}", gigabytes(width * size))
            for name, width in (("`uce-mini`", mini.output_dim), ("the released models", UCE_4L.output_dim))
            for what, size in (("float32, as `store=` writes it", 4), ("float16, as an atlas holds it", 2))
        ),
        (f"files of a store, two per {BLOCK_ROWS} cells", [f"{2 * n // BLOCK_ROWS:,}" for n in SIZES.values()]),
        ("GB of an `ivf` index of the released models, in memory", gigabytes(UCE_4L.output_dim * 4 + 8)),
    ]
    head = ["| cells |" + "|".join(f" {name} " for name in SIZES) + "|", "|---|" + "---:|" * len(SIZES)]
    return "\n".join([*head, *(f"| {what} | {' | '.join(cells)} |" for what, cells in rows)]) + "\n"


def _number(x: float) -> str:
    return f"{x:,.0f}" if x >= 10 else f"{x:.2g}"


def main() -> None:
    """Write the table."""
    directory = Path(sys.argv[1])
    rates = json.loads((directory / "rates.json").read_text())
    text = sizing(rates)
    (directory / "sizing.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

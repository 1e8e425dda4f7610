"""Repeat calls in a fresh process and print as JSON by how many GB its resident memory grows.

``python -m benchmarks.repeated_calls N``: the growth is from call ``N / 10`` to call ``N``.
"""

from __future__ import annotations

import json
import sys

import univerce as uc
from benchmarks.measurement import memory


def main() -> None:
    """Embed, search and label the same cells again and again."""
    n_calls = int(sys.argv[1])
    uc.settings.progress = False
    cells = uc.datasets.pbmc68k_reduced()
    query, reference, few = cells[:100].copy(), cells[100:].copy(), cells[:5].copy()
    uc.tl.uce_embed(reference)
    calls = {
        "tl.uce_embed, uce-mini": lambda: uc.tl.uce_embed(query),
        "tl.uce_embed, uce-tiny": lambda: uc.tl.uce_embed(few, model="uce-tiny"),
        "pp.map_genes": lambda: uc.pp.map_genes(query),
        "tl.search_atlas": lambda: uc.tl.search_atlas(query, reference),
    }
    growth = {}
    for what, call in calls.items():
        for i in range(n_calls):
            call()
            if i + 1 == n_calls // 10:
                before = memory("VmRSS")
        growth[what] = memory("VmRSS") - before
    print(json.dumps(growth))


if __name__ == "__main__":
    main()

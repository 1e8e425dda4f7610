"""Gene names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from benchmarks.fuzz.target import Target


def names(directory: Path) -> Target:
    """Gene names against a slow look-up of what is written as in the table."""
    from univerce.genes.load import load_table
    from univerce.genes.lookup import map_names

    table = load_table("human")
    table = table[np.random.default_rng(0).permutation(table.n_obs)[:200]].copy()
    symbols, ids = (table.obs[column].astype(str).tolist() for column in ("symbol", "ensembl_id"))
    rows = {name: [i for i, one in enumerate(symbols) if one == name] for name in symbols}
    parts = st.sampled_from(
        (
            "-1",
            ".2",
            "_",
            "GRCh38_",
            "mm10___",
            "ENSG00000141510",
            ".",
            "X",
            "MARCH",
            "SEPT",
            "1",
            "-",
            " ",
            "PAR_Y",
            "é",
        )
    )
    known = st.sampled_from([*symbols, *ids])
    name = st.one_of(
        known, known.map(str.lower), st.lists(st.one_of(parts, known), max_size=4).map("".join), st.text(max_size=12),
        st.dates().map(str), st.none(), st.just(float("nan")), st.integers(), st.just("1" * 3000),
    )  # fmt: skip

    def attempt(given: list[Any]) -> bool:
        mapping = map_names(given, table)
        assert len(mapping.rows) == len(given)
        for one, row, how in zip(given, mapping.rows.tolist(), mapping.how, strict=True):
            assert -1 <= row < table.n_obs
            assert (row < 0) == (how == "")
            text = one.strip() if isinstance(one, str) else ""
            if text and text in rows:
                assert row in rows[text]
                assert how == "symbol"
            elif text and text in ids:
                assert ids[row] == text
                assert how == "ensembl"
            elif not isinstance(one, str) and not isinstance(one, int):
                assert row == -1
        return True

    return Target(st.lists(name, max_size=8), attempt)

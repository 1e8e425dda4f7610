"""Ensembl ids of the symbols in released files, from the bundled tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from univerce.genes.release.registry import BUNDLED_TABLES, list_tables
from univerce.genes.table import read_table


def ensembl_ids(symbols: Sequence[str], annotation: pd.DataFrame | None) -> list[str]:
    """Get the Ensembl id of each symbol in upper case, ``""`` if there is none or more than one."""
    if annotation is None:
        return [""] * len(symbols)
    known = pd.Series(annotation["ensembl_id"].to_numpy(str), index=annotation["symbol"].astype(str).str.upper())
    known = known[(known != "") & ~known.index.duplicated(keep=False)]
    return known.reindex(list(symbols), fill_value="").tolist()


def bundled_annotation(species: str) -> pd.DataFrame | None:
    """Symbols and Ensembl ids of the bundled table of a species, if there is one."""
    path = list_tables(BUNDLED_TABLES).get(species)
    return None if path is None else read_table(path).obs[["symbol", "ensembl_id"]]

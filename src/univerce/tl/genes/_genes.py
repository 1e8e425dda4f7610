"""Rows of genes by name."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd

from univerce.genes.lookup import map_names


def find_rows(names: Sequence[str] | np.ndarray, table: ad.AnnData, species: str) -> np.ndarray:
    """``[n_genes]`` rows of a gene table; ``ValueError`` if it lacks a gene."""
    rows = map_names(names, table).rows
    if (rows < 0).any():
        unknown = [str(name) for name, row in zip(names, rows, strict=True) if row < 0]
        more = f" and {len(unknown) - 10:,} more" if len(unknown) > 10 else ""
        raise ValueError(
            f"{len(unknown):,} of {len(names):,} genes are not in the gene table of {species!r}: "
            f"{', '.join(map(repr, unknown[:10]))}{more}. Leave them out, or pass the species= they belong to."
        )
    return rows


def describe_genes(table: ad.AnnData, rows: np.ndarray, names: Sequence[str] | np.ndarray) -> pd.DataFrame:
    """``symbol`` and ``ensembl_id`` of genes, indexed by the names that the caller uses."""
    out = table.obs.iloc[rows][["symbol", "ensembl_id"]].astype(str)
    return out.set_axis(pd.Index([str(name) for name in names]))

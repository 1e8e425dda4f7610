"""Results in the structure of :func:`scanpy.tl.rank_genes_groups`."""

from __future__ import annotations

from typing import Any

import pandas as pd

_FIELDS = {
    "names": ("gene", "O"), "scores": ("score", "float32"), "logfoldchanges": ("log2_fold_change", "float32"),
    "pvals": ("p_value", "float64"), "pvals_adj": ("p_adjusted", "float64"),
}  # fmt: skip


def rank_genes(table: pd.DataFrame, genes: pd.Index, by: str, share: str, share_rest: str) -> dict[str, Any]:
    """Convert a table with a row per group (``by``) and gene, for scanpy's readers and plots.

    Each group holds all genes, as its plots need, highest score first, those that were not compared last.
    """
    genes = genes.rename("gene")
    parts = {group: table[table[by] == group].set_index("gene").reindex(genes) for group in table[by].unique()}
    ranked = {
        group: part.sort_values("score", ascending=False, kind="stable", na_position="last").reset_index()
        for group, part in parts.items()
    }
    out: dict[str, Any] = {
        field: pd.DataFrame({group: part[column] for group, part in ranked.items()}).to_records(
            index=False, column_dtypes=dtype
        )
        for field, (column, dtype) in _FIELDS.items()
    }
    for field, column in (("pts", share), ("pts_rest", share_rest)):
        out[field] = pd.DataFrame({group: part[column] for group, part in parts.items()}).rename_axis(None)
    return out

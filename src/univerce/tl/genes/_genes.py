"""Rows of genes by name, and how well predictions rank the cells that have a count of a gene."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd

from univerce.embeddings.groups import has_counts
from univerce.genes.lookup import map_names
from univerce.io.blocks import iter_blocks

_BLOCK_ROWS = 4096


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


def score_genes(adata: ad.AnnData, table: ad.AnnData, rows: np.ndarray, predicted: np.ndarray) -> pd.DataFrame:
    """Scores of the genes at the ``rows`` ``[n_genes]`` of a table; cells with NaN in ``predicted`` do not count.

    They are the ``share`` of the cells with a count of each gene, ``auroc`` between cells with and without, 0.5 for
    chance, and ``auroc_depth``, that of the number of genes of a cell. NaN for genes that were not measured or that all
    cells or none have, and without counts.
    """
    from sklearn.metrics import roc_auc_score

    out = pd.DataFrame(np.nan, index=range(len(rows)), columns=["share", "auroc", "auroc_depth"])
    if not has_counts(adata, None):
        return out
    there = pd.Series(np.arange(adata.n_vars), index=map_names(adata.var_names, table).rows)
    columns = there[~there.index.duplicated()].reindex(rows).to_numpy()
    measured = np.flatnonzero(~np.isnan(columns))
    has_count, depth = np.zeros((adata.n_obs, len(measured)), dtype=bool), np.zeros(adata.n_obs)
    for part, block in iter_blocks(adata, _BLOCK_ROWS):
        if block.nnz and block.data.min() < 0:  # centered values
            return out
        has_count[part] = block[:, columns[measured].astype(np.int64)].toarray() > 0
        depth[part] = np.diff(block.indptr)
    known = ~np.isnan(predicted).any(axis=1)
    for i, has in zip(measured, has_count[known].T, strict=True):
        out.loc[i, "share"] = has.mean() if known.any() else np.nan
        if 0 < has.sum() < len(has):
            out.loc[i, "auroc"] = roc_auc_score(has, predicted[known, i])
            out.loc[i, "auroc_depth"] = roc_auc_score(has, depth[known])
    return out

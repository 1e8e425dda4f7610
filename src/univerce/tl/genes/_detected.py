"""How well predictions rank the cells that have a count of a gene."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd

from univerce.embeddings.groups import has_counts
from univerce.genes.lookup import map_names
from univerce.io.blocks import iter_blocks

_BLOCK_ROWS = 4096


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

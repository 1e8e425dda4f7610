"""scGraph (Wang, Leskovec and Regev 2024): do the types lie to each other as in the expression of each batch?"""

from __future__ import annotations

from typing import Final

import anndata as ad
import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import trim_mean

from univerce.bench._expression import principal_components

NAMES: Final = ("scGraph Rank-PCA", "scGraph Corr-PCA", "scGraph Corr-Weighted")
MIN_BATCH: Final = 100
_TRIM, _MIN_TYPE, _N_GENES, _N_COMPS = 0.05, 10, 1000, 10


def type_distances(x: np.ndarray, types: np.ndarray) -> pd.DataFrame:
    """``[n_types, n_types]`` distances of trimmed means, each column divided by its maximum."""
    names = np.unique(types)
    means = np.array([trim_mean(x[types == name], _TRIM, axis=0) for name in names])
    apart = cdist(means, means)
    return pd.DataFrame(apart / np.maximum(apart.max(axis=0), np.finfo(float).tiny), names, names)


def consensus(counts: ad.AnnData, types: np.ndarray, batches: np.ndarray) -> pd.DataFrame | None:
    """Distances of types in principal components of the expression, averaged over batches of 100 cells or more.

    ``types`` and ``batches`` ``[n_cells]``; types with fewer than 10 cells are left out. None without such a batch.
    """
    sizes = pd.Series(types).value_counts()
    kept = np.isin(types, sizes.index[sizes >= _MIN_TYPE])
    parts = []
    for batch in np.unique(batches):
        inside = batches == batch
        if inside.sum() >= MIN_BATCH and len(np.unique(types[inside & kept])) > 1:
            x = principal_components(counts[inside], n_top_genes=_N_GENES, n_comps=_N_COMPS)
            parts.append(type_distances(x[kept[inside]], types[inside & kept]))
    if not parts:
        return None
    together = pd.concat(parts)
    mean = together.groupby(together.index).mean().reindex(columns=sorted(together.columns)).sort_index()
    return mean / mean.max(axis=0)


def scgraph_scores(x: np.ndarray, types: np.ndarray, expected: pd.DataFrame) -> pd.DataFrame:
    """Correlation of the distances from each type (row) with the consensus: of ranks, of distances, and of distances
    with the weight 1 / distance. A score is the mean of the types.
    """
    kept = np.isin(types, expected.index)
    found = type_distances(x[kept], types[kept]).reindex(index=expected.index, columns=expected.columns)
    rows = []
    for name in expected:
        pair = pd.concat([found[name], expected[name]], axis=1, keys=["found", "expected"]).dropna()
        weight = np.divide(1, pair["expected"], out=np.zeros(len(pair)), where=pair["expected"].to_numpy() > 0)
        covariance = np.cov(pair.T, aweights=weight) if (weight > 0).sum() > 1 else np.full((2, 2), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            weighted = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        rows.append([pair.corr(method)["found"]["expected"] for method in ("spearman", "pearson")] + [weighted])
    return pd.DataFrame(rows, index=list(expected), columns=list(NAMES))

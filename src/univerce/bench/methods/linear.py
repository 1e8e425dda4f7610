"""Strong linear baseline: ranks, genes that differ between the known types, z-scores, principal components."""

from __future__ import annotations

import anndata as ad
import numpy as np
import scipy.sparse as sp
from scipy.stats import rankdata

from univerce.bench._method import Method

_MAX_SD = 10.0
_BLOCK_GENES = 2000


def linear_features(
    counts: sp.csr_matrix, labels: np.ndarray, *, n_top_genes: int = 2000, n_comps: int = 50, rng: int = 0
) -> np.ndarray:
    """Features ``[n_cells, n_comps]`` float32 of cells for a linear classifier, fitted to the cells with a label.

    Counts are replaced by their ranks within the cell. The genes with the highest F of an analysis of variance between
    the types are centered and scaled, and reduced to principal components. ``labels`` ``[n_cells]`` are codes of the
    types, -1 for none. There may be fewer genes and components than asked for.
    """
    from sklearn.decomposition import PCA
    from sklearn.feature_selection import f_classif

    above, zero = relative_ranks(counts)
    known, columns = labels >= 0, above.tocsc()
    f = np.zeros(columns.shape[1])
    for start in range(0, columns.shape[1], _BLOCK_GENES):
        block = columns[:, start : start + _BLOCK_GENES].toarray()[known] + zero[known, None]
        varies = np.ptp(block, axis=0) > 0
        if varies.any():
            f[start : start + _BLOCK_GENES][varies] = f_classif(block[:, varies], labels[known])[0]
    chosen = np.sort(np.argsort(-np.nan_to_num(f, posinf=np.finfo(float).max), kind="stable")[:n_top_genes])
    x = columns[:, chosen].toarray() + zero[:, None]
    mean, sd = x[known].mean(axis=0), x[known].std(axis=0)
    z = np.clip((x - mean) / np.where(sd > 0, sd, 1), -_MAX_SD, _MAX_SD)
    model = PCA(min(n_comps, known.sum() - 1, len(chosen)), random_state=rng).fit(z[known])
    return np.asarray(model.transform(z), dtype=np.float32)


def relative_ranks(counts: sp.csr_matrix) -> tuple[sp.csr_matrix, np.ndarray]:
    """Ranks of the genes within each cell, in [0, 1], ties averaged.

    Returns the ranks above that of a zero ``[n_cells, n_genes]``, sparse, and the rank of a zero ``[n_cells]``.
    """
    out = sp.csr_matrix(counts, dtype=np.float64, copy=True)
    out.sum_duplicates()
    out.eliminate_zeros()
    n_genes, n_expressed = out.shape[1], np.diff(out.indptr)
    zero = (n_genes - n_expressed + 1) / 2
    for start, end, rank in zip(out.indptr[:-1], out.indptr[1:], zero, strict=True):
        out.data[start:end] = rankdata(out.data[start:end]) + n_genes - (end - start) - rank
    return out / n_genes, zero / n_genes


def _embed(
    adata: ad.AnnData,
    *,
    batch_key: str | None,
    groupby: str | None,
    rng: int,
    n_top_genes: int = 2000,
    n_comps: int = 50,
) -> np.ndarray:
    if groupby is None:
        raise ValueError("This baseline needs labels: pass groupby= with the column of obs that holds them.")
    labels = adata.obs[groupby].astype("category").cat.codes.to_numpy()
    return linear_features(sp.csr_matrix(adata.X), labels, n_top_genes=n_top_genes, n_comps=n_comps, rng=rng)


METHOD = Method(
    name="linear",
    embed=_embed,
    citation="ranks, analysis of variance and principal components of scikit-learn (Pedregosa et al. 2011)",
    license="BSD-3-Clause",
    zero_shot=False,
    seeded=False,
    uses_labels=True,
)

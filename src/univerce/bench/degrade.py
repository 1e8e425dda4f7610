"""Make data worse, to see what a method stands."""

from __future__ import annotations

from typing import Literal, get_args

import anndata as ad
import numpy as np
import scipy.sparse as sp

from univerce._docs import document
from univerce._validate import as_seed, check_adata
from univerce.bench._expression import get_counts, log_normalized, variable_genes
from univerce.embeddings.labels import get_labels
from univerce.inference.sentences import cell_keys, shuffled_rows

How = Literal["half_counts", "gene_panel", "few_cells", "imbalance"]
_N_PANEL, _SHARE, _RAREST, _FEWEST = 300, 0.1, 0.05, 10
_DRAW_COUNTS, _DRAW_CELLS = -10, -11


@document
def degrade(
    adata: ad.AnnData,
    how: How,
    *,
    groupby: str | None = None,
    layer: str | None = None,
    rng: int | np.random.Generator = 0,
) -> ad.AnnData:
    """Degrade data in one way, to score methods on the result with :func:`univerce.bench.run` or ``run_transfer``.

    Parameters
    ----------
    adata
        Annotated data matrix with raw counts.
    how
        ``"half_counts"``: each molecule is kept with probability one half (binomial thinning). ``"gene_panel"``: the
        300 most variable genes, as in a spatial panel. ``"few_cells"``: a tenth of the cells of each type, at least 10
        where possible. ``"imbalance"``: the types, in random order, keep from all to a twentieth of their cells, at
        least 10.
    groupby
        Column of ``obs`` with the types, needed for the last two; cells without a type are left out.
    %(layer)s
    rng
        Seed or generator. Draws depend on cell names, not on their order.

    Returns
    -------
    A new AnnData with counts in ``X``, and ``obs``, ``var`` and the strings in ``uns`` of what is kept.

    Raises
    ------
    KeyError
        If the column or the layer does not exist.
    ValueError
        If values are not counts, ``how`` is not known, or ``groupby`` is missing.

    Examples
    --------
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> half = uc.bench.degrade(adata, "half_counts")
    >>> round(float(half.X.sum() / adata.X.sum()), 2)
    0.5
    >>> uc.bench.degrade(adata, "few_cells", groupby="cell_type").n_obs
    115
    """
    check_adata(adata)
    if how not in get_args(How):
        raise ValueError(f"how={how!r} is not known; use one of {', '.join(get_args(How))}.")
    seed, x = as_seed(rng), sp.csr_matrix(get_counts(adata, layer), copy=True)
    rows, columns = np.arange(adata.n_obs), np.arange(adata.n_vars)
    names = adata.obs_names.astype(str).to_numpy(dtype=object)
    if how == "half_counts":
        x = _thin(x, cell_keys(names, seed, draw=_DRAW_COUNTS))
    elif how == "gene_panel":
        columns = np.flatnonzero(variable_genes(log_normalized(ad.AnnData(x, obs=adata.obs, var=adata.var)), _N_PANEL))
    elif groupby is None:
        raise ValueError(f"how={how!r} needs the types: pass groupby= with the column of obs that holds them.")
    else:
        labels = get_labels(adata.obs, groupby)
        rows = _some_of_each(labels.codes, _shares(how, len(labels.categories), seed), names, seed)
    texts = {key: value for key, value in adata.uns.items() if isinstance(value, str)}
    return ad.AnnData(
        x[rows][:, columns], obs=adata.obs.iloc[rows].copy(), var=adata.var.iloc[columns].copy(), uns=texts
    )


def _thin(x: sp.csr_matrix, keys: np.ndarray) -> sp.csr_matrix:
    """Keep each molecule with probability one half; a stream of random numbers for each cell."""
    x.sum_duplicates()
    for start, end, key in zip(x.indptr[:-1], x.indptr[1:], keys, strict=True):
        x.data[start:end] = np.random.default_rng(key).binomial(x.data[start:end].astype(np.int64), 0.5)
    x.eliminate_zeros()
    return x


def _shares(how: str, n_types: int, seed: int) -> np.ndarray:
    """``[n_types]`` share of the cells that each type keeps."""
    if how == "few_cells":
        return np.full(n_types, _SHARE)
    return np.random.default_rng(seed).permutation(np.geomspace(1, _RAREST, n_types))


def _some_of_each(codes: np.ndarray, shares: np.ndarray, names: np.ndarray, seed: int) -> np.ndarray:
    """Ascending rows of a share of each type, ten at least."""
    kept = []
    for code, share in enumerate(shares):
        rows = np.flatnonzero(codes == code)
        n = max(int(np.ceil(share * len(rows))), _FEWEST)
        kept.append(shuffled_rows(names, rows, seed, draw=_DRAW_CELLS)[:n])
    return np.sort(np.concatenate(kept))

"""scGPT's input: the expressed genes of a cell and the bin of each one's count (Cui et al. 2024, Methods)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

N_BINS = 51
"""Bin 0 is that of genes which are not expressed, and those are left out."""


def bin_values(values: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """``[n]`` bin from 1 to 50 of each non-zero value, between the quantiles of all of them.

    Counts repeat, so that many quantiles are equal and a value may fall into any of the bins between them. As published
    it is spread over these at random; ``uniform`` ``[n]`` in [0, 1) decides.
    """
    edges = np.quantile(values, np.linspace(0, 1, N_BINS - 1))
    high, low = np.searchsorted(edges, values, side="right"), np.searchsorted(edges, values, side="left")
    return np.ceil(uniform * (low - high) + high).astype(np.int64)


def sentences(
    counts: sp.csr_matrix, keys: np.ndarray, *, cls: int, cls_value: float, max_length: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Tokens and values of each cell, ``<cls>`` first; empty for a cell without counts.

    All genes are binned, then at most ``max_length - 1`` are drawn without replacement. ``keys`` ``[n_obs]`` seed each
    cell, so that results depend neither on other cells nor on the order of the variables. ``counts`` ``[n_obs,
    n_tokens]`` have sorted columns and no stored zero.
    """
    tokens, values = [], []
    for i, key in enumerate(keys):
        row = slice(counts.indptr[i], counts.indptr[i + 1])
        ids = counts.indices[row].astype(np.int64)
        if len(ids) == 0:
            tokens.append(ids)
            values.append(np.empty(0, dtype=np.float32))
            continue
        stream = np.random.default_rng(int(key))
        bins = bin_values(counts.data[row], stream.random(len(ids)))
        if len(ids) > max_length - 1:
            drawn = np.sort(stream.choice(len(ids), max_length - 1, replace=False))
            ids, bins = ids[drawn], bins[drawn]
        tokens.append(np.concatenate([[cls], ids]))
        values.append(np.concatenate([[cls_value], bins]).astype(np.float32))
    return tokens, values

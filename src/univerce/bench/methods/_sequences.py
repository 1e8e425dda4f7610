"""Counts of cells as sequences of tokens, and sequences through a network in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp


def counts_of_tokens(x: Any, token: np.ndarray, n_tokens: int) -> sp.csr_matrix:
    """Counts by token, with sorted columns and no stored zero; variables of one token add up.

    Parameters
    ----------
    x
        ``[n_obs, n_vars]`` counts.
    token
        ``[n_vars]`` token of each variable; -1 for none.
    n_tokens
        Width of the result.
    """
    known = np.flatnonzero(token >= 0)
    collect = sp.csr_matrix((np.ones(len(known)), (known, token[known])), shape=(len(token), n_tokens))
    counts = sp.csr_matrix(sp.csr_matrix(x, dtype=np.float64) @ collect)
    counts.eliminate_zeros()
    counts.sort_indices()
    return counts


def require_coverage(counts: sp.csr_matrix, x: Any, least: float, what: str) -> float:
    """The share of the counts that have a token; ``ValueError`` when it is below ``least``."""
    share = float(counts.sum() / max(x.sum(), 1))
    if share < least:
        raise ValueError(
            f"Only {share:.1%} of the counts are in genes that {what} knows, less than min_coverage={least:.0%}. Are "
            "the species and the kind of gene names right (gene_key= names a column of var)?"
        )
    return share


def gene_names(adata: Any, gene_key: str | None) -> np.ndarray:
    """``[n_vars]`` names of the genes as text: ``var[gene_key]``, or ``var_names`` for None."""
    if gene_key is None:
        return adata.var_names.to_numpy(dtype=object)
    if gene_key not in adata.var:
        available = ", ".join(map(repr, adata.var.columns)) or "none"
        raise KeyError(f"gene_key={gene_key!r} is not in var; its columns are: {available}.")
    column = adata.var[gene_key]
    return column.astype(object).where(column.notna(), "").astype(str).to_numpy(dtype=object)


def embed_by_length(
    sequences: Sequence[Sequence[np.ndarray]],
    pads: Sequence[float],
    forward: Callable[..., np.ndarray],
    *,
    n_dims: int,
    batch_size: int,
) -> np.ndarray:
    """``[n_obs, n_dims]`` float32 in the order of the cells; NaN for a cell whose sequence is empty.

    Parameters
    ----------
    sequences
        For each input of the network, such as tokens and values, an array a cell.
    pads
        What fills up each input.
    forward
        Gets each input as ``[n, longest]`` and the mask ``[n, longest]`` that is False on pads.
    n_dims
        Width of what it returns.
    batch_size
        Cells a batch; the longest come first, so that running out of memory does not wait.
    """
    lengths = np.array([len(s) for s in sequences[0]], dtype=np.int64)
    out = np.full((len(lengths), n_dims), np.nan, dtype=np.float32)
    rows = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        mask = np.arange(lengths[batch[0]]) < lengths[batch, None]
        inputs = []
        for cells, pad in zip(sequences, pads, strict=True):
            padded = np.full(mask.shape, pad, dtype=cells[batch[0]].dtype)
            padded[mask] = np.concatenate([cells[i] for i in batch])
            inputs.append(padded)
        out[batch] = forward(*inputs, mask)
    return out

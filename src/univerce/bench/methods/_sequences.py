"""Sequences of tokens, embedded in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from univerce._device import choose_device
from univerce._validate import check_column


def counts_of_tokens(x: Any, token: np.ndarray, n_tokens: int) -> sp.csr_matrix:
    """``[n_obs, n_tokens]`` counts by token, with sorted columns and no stored zero; variables of one token are summed.

    ``x`` are counts ``[n_obs, n_vars]``, ``token`` ``[n_vars]`` the token of each variable, -1 for none.
    """
    known = np.flatnonzero(token >= 0)
    collect = sp.csr_matrix((np.ones(len(known)), (known, token[known])), shape=(len(token), n_tokens))
    counts = sp.csr_matrix(sp.csr_matrix(x, dtype=np.float64) @ collect)
    counts.eliminate_zeros()
    counts.sort_indices()
    return counts


def require_coverage(counts: sp.csr_matrix, x: Any, least: float, what: str) -> float:
    """Share of the counts that have a token; ``ValueError`` if it is below ``least``."""
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
    check_column("gene_key", gene_key, adata.var, "var")
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
    """``[n_obs, n_dims]`` float32 in the order of the cells; NaN for cells with an empty sequence.

    ``sequences`` and ``pads`` have one entry for each input, such as tokens and values. ``forward`` gets the padded
    inputs ``[n, longest]`` and a mask, False on pads. The longest batch comes first, to fail early.
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


def mean_of_genes(
    network: Any, sequences: list[np.ndarray], *, pad: int, ends: bool, layer: int, batch_size: int
) -> np.ndarray:
    """``[n_obs, hidden_size]`` mean of the hidden states of a layer over the genes of each sequence.

    With ``ends`` the first and last token of a sequence are not genes. ``pad`` is the token of masked positions.
    """
    import torch

    device = choose_device()
    network.to(device).eval()

    def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        genes = mask.copy()
        if ends:
            genes[:, 0] = False
            genes[np.arange(len(mask)), mask.sum(axis=1) - 1] = False
        with torch.inference_mode():
            hidden = network(
                torch.from_numpy(ids).to(device),
                attention_mask=torch.from_numpy(mask).to(device).long(),
                output_hidden_states=True,
            ).hidden_states[layer]
            weights = torch.from_numpy(genes).to(device, hidden.dtype)[:, :, None]
            return ((hidden * weights).sum(1) / weights.sum(1)).cpu().numpy()

    return embed_by_length([sequences], [pad], forward, n_dims=network.config.hidden_size, batch_size=batch_size)

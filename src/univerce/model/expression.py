"""The expression head for whole matrices: every cell and every gene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from univerce.model.network import UCE

_ACTIVATIONS = 64 * 2**20
"""Bytes of the widest layer for the pairs of one block."""


@torch.inference_mode()
def expression_logits(
    network: UCE, cells: np.ndarray, features: np.ndarray, *, done: Callable[[int], Any] | None = None
) -> np.ndarray:
    """Compute the logit of every pair of a cell and a gene ``[n_cells, n_genes]``, in blocks that bound the memory.

    ``cells`` are embeddings ``[n_cells, output_dim]``, ``features`` ``[n_genes, token_dim]`` those of the gene table.
    ``done`` is called with the number of pairs after every block.
    """
    device = next(network.parameters()).device
    widest = max(parameter.shape[0] for parameter in network.parameters())
    pairs = max(1, _ACTIVATIONS // (4 * widest))
    n_genes = max(1, min(len(features), pairs))
    n_cells = max(1, pairs // n_genes)
    embedded = torch.from_numpy(np.ascontiguousarray(cells, dtype=np.float32))
    queries = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
    out = np.empty((len(cells), len(features)), dtype=np.float32)
    for g in range(0, len(features), n_genes):
        genes = queries[g : g + n_genes].to(device)
        for c in range(0, len(cells), n_cells):
            logits = network.predict(embedded[c : c + n_cells].to(device), genes)
            out[c : c + n_cells, g : g + n_genes] = logits.float().cpu().numpy()
            if done is not None:
                done(logits.numel())
    return out

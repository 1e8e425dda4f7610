"""The bag of genes, which small models add to the network of the paper (the released models have none).

A short sentence misses much of a cell, and a small transformer starts far below a plain sum of gene features. The bag
is that sum, over all expressed genes and without sampling noise; the network starts from it and adds to it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from univerce.model.config import UCEConfig

_GATE_WIDTH = 128


def bag_weights(counts: sparse.csr_matrix, scale: float) -> sparse.csr_matrix:
    """Weight the genes of each cell by log(1 + scale * share of the cell's counts).

    Parameters
    ----------
    counts
        ``[n_cells, n_tokens]`` counts.
    scale
        ``UCEConfig.bag_scale``: a small one weights genes by their share, a large one almost only by whether they are
        expressed, which separates deep from shallow cells.

    Returns
    -------
    Matrix of the same shape, float32.
    """
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    share = counts.data / np.repeat(total, np.diff(counts.indptr))
    weights = np.log1p(scale * share).astype(np.float32)
    return sparse.csr_matrix((weights, counts.indices, counts.indptr), shape=counts.shape)


class Bag(nn.Module):
    """A gated sum of the features of all expressed genes, projected to the cell embedding."""

    def __init__(self, config: UCEConfig) -> None:
        super().__init__()
        d, out = config.token_dim, config.output_dim
        self.gate = nn.Sequential(nn.Linear(d, _GATE_WIDTH), nn.GELU(), nn.Linear(_GATE_WIDTH, 1))
        self.center = nn.Parameter(torch.zeros(d))
        self.project = nn.Linear(d, out, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Gate the features ``[..., token_dim]`` of genes: rare genes weigh more."""
        unit = F.normalize(features, dim=-1, eps=1e-12)
        return F.softplus(self.gate(unit * unit.shape[-1] ** 0.5)) * unit

    def cell(self, bag: Tensor) -> Tensor:
        """Project the sums over genes ``[cells, token_dim]`` to cells ``[cells, output_dim]``."""
        return self.project(bag - self.center)

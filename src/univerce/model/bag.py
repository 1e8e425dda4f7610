"""The bag of genes: what small models add to the paper's network (the released models have none).

With few draws one sentence misses much of a cell, and a small transformer starts far below what a plain sum of gene
features already tells. The bag is that sum, over every expressed gene and without sampling noise; the network starts
from it and can only add to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from univerce.model.config import UCEConfig

if TYPE_CHECKING:
    pass

_GATE_WIDTH = 128


def bag_weights(counts: sparse.csr_matrix, scale: float) -> sparse.csr_matrix:
    """What each gene weighs in the bag of its cell: log(1 + scale * share of the cell's counts).

    Parameters
    ----------
    counts
        ``[n_cells, n_tokens]`` counts.
    scale
        ``UCEConfig.bag_scale``: a small one weighs genes by their share, a large one says little more than which genes
        are expressed, and deep cells differ from shallow ones.

    Returns
    -------
    Matrix of the same shape, float32.
    """
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    share = counts.data / np.repeat(total, np.diff(counts.indptr))
    weights = np.log1p(scale * share).astype(np.float32)
    return sparse.csr_matrix((weights, counts.indices, counts.indptr), shape=counts.shape)


class Bag(nn.Module):
    """A gated sum of the features of all expressed genes, mapped to the cell embedding."""

    def __init__(self, config: UCEConfig) -> None:
        super().__init__()
        d, out = config.token_dim, config.output_dim
        self.gate = nn.Sequential(nn.Linear(d, _GATE_WIDTH), nn.GELU(), nn.Linear(_GATE_WIDTH, 1))
        self.center = nn.Parameter(torch.zeros(d))
        self.project = nn.Linear(d, out, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """What a gene adds to the bag, ``[..., token_dim]``, from its features: rare genes count for more."""
        unit = F.normalize(features, dim=-1, eps=1e-12)
        return F.softplus(self.gate(unit * unit.shape[-1] ** 0.5)) * unit

    def cell(self, bag: Tensor) -> Tensor:
        """The cell ``[cells, output_dim]`` from the sum over its genes ``[cells, token_dim]``."""
        return self.project(bag - self.center)

"""The bag of genes: its weights and its part of the network."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse

from univerce.model import UCEConfig
from univerce.model.bag import Bag, bag_weights

TINY = UCEConfig(
    model_id="tiny", token_dim=24, d_model=20, n_heads=5, d_hidden=28, n_layers=2, output_dim=18, decoder_dim=22,
    gene_dim=14, head_dims=(12, 10), max_length=64, bag=True,
)  # fmt: skip


def test_a_gene_weighs_by_its_share_of_the_counts_whatever_the_depth():
    counts = sparse.csr_matrix(np.array([[1.0, 0, 3], [0, 0, 0], [10, 0, 30]]))
    expected = np.zeros((3, 3))
    expected[[0, 2], 0], expected[[0, 2], 2] = np.log(1 + 50 * 0.25), np.log(1 + 50 * 0.75)
    np.testing.assert_allclose(bag_weights(counts, 50).toarray(), expected, rtol=1e-6)


def test_a_gene_enters_the_bag_gated():
    torch.manual_seed(0)
    bag = Bag(TINY).requires_grad_(requires_grad=False)
    features = torch.randn(5, 24)
    unit = features / features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(bag(features), torch.log(1 + torch.exp(bag.gate(unit * 24**0.5))) * unit)


def test_the_direction_of_a_cell_does_not_depend_on_the_length_of_its_centered_bag():
    torch.manual_seed(0)
    bag = Bag(TINY).requires_grad_(requires_grad=False)
    x = torch.randn(6, 24)
    long, short = (F.normalize(bag.cell(bag.center + k * x), dim=1) for k in (30.0, 0.1))
    torch.testing.assert_close(long, short, atol=1e-5, rtol=0)

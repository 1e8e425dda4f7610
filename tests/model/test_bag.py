"""The bag of genes: its weights, its part of the network and where it starts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import sparse

from univerce.model import UCE, UCEConfig
from univerce.model.bag import Bag, bag_weights, start_from_bag

N_TOKENS = 40
TINY = UCEConfig(
    model_id="tiny", token_dim=24, d_model=20, n_heads=5, d_hidden=28, n_layers=2, output_dim=18, decoder_dim=22,
    gene_dim=14, head_dims=(12, 10), max_length=64, bag=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    frequency = np.r_[np.zeros(4), rng.uniform(0.01, 1, N_TOKENS - 4)]
    counts = sparse.csr_matrix(rng.poisson(3 * frequency, (300, N_TOKENS)).astype(np.float32))
    vocabulary = torch.from_numpy(rng.standard_normal((N_TOKENS, 24)).astype(np.float32))
    return vocabulary, frequency, bag_weights(counts, 100), np.repeat([0, 1, 2], [150, 100, 50])


@pytest.fixture(scope="module")
def started(corpus) -> UCE:
    torch.manual_seed(0)
    network = UCE(TINY).eval()
    start_from_bag(network, *corpus)
    return network.requires_grad_(requires_grad=False)


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


def test_the_direction_of_a_cell_does_not_depend_on_the_length_of_its_centred_bag():
    torch.manual_seed(0)
    bag = Bag(TINY).requires_grad_(requires_grad=False)
    x = torch.randn(6, 24)
    long, short = (F.normalize(bag.cell(bag.center + k * x), dim=1) for k in (30.0, 0.1))
    torch.testing.assert_close(long, short, atol=1e-5, rtol=0)


def test_the_gate_starts_at_the_rarity_of_the_genes(started, corpus):
    vocabulary, frequency, *_ = corpus
    seen = frequency > 0
    rarity = np.log(1 / frequency[seen]) ** 1.5
    gate = started.bag(vocabulary)[seen].norm(dim=1).numpy()
    assert np.corrcoef(gate, rarity)[0, 1] > 0.95


def test_the_cells_start_centred_and_softly_whitened_by_cells_and_by_data_sets(corpus):
    vocabulary, _, weights, sets = corpus
    torch.manual_seed(0)
    network = UCE(replace(TINY, output_dim=24))
    start_from_bag(network, *corpus, steps=20)
    network.requires_grad_(requires_grad=False)
    sums = (weights @ network.bag(vocabulary).numpy()).astype(np.float64)
    z = network.bag.cell(torch.from_numpy(sums.astype(np.float32))).numpy()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-4)
    assert (np.diff(np.square(z).mean(axis=0)) < 1e-6).all()
    centred = sums - sums.mean(axis=0)
    means = [centred[sets == k].mean(axis=0) for k in (0, 1, 2)]
    covariance = np.cov(sums.T, bias=True) + 30 * sum(np.outer(m, m) for m in means) / 3
    ridge = np.trace(covariance) / 24 * np.eye(24)
    np.testing.assert_allclose(z @ z.T, centred @ np.linalg.solve(covariance + ridge, centred.T), atol=1e-3)


def test_all_else_starts_silent(started, corpus):
    vocabulary, _, weights, _ = corpus
    bag = torch.from_numpy(weights[:3] @ started.bag(vocabulary).numpy())
    tokens = started.encode_tokens(vocabulary)[torch.arange(12).reshape(3, 4)]
    cells = started.embed(tokens, bag=bag)
    torch.testing.assert_close(cells, started.embed(None, bag=bag))
    assert not started.predict(cells, vocabulary).any()


def test_more_components_than_the_features_have_are_zero(corpus):
    torch.manual_seed(0)
    network = UCE(replace(TINY, output_dim=30))
    start_from_bag(network, *corpus, steps=1)
    assert not network.bag.project.weight[24:].any()
    assert network.bag.project.weight[:24].any(dim=1).all()

"""The initialization of the bag."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from univerce.model import UCE, UCEConfig
from univerce.model.bag import bag_weights
from univerce.training.axes import noise_adjusted_axes
from univerce.training.initialize import start_from_bag

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
    return vocabulary, frequency, counts, np.repeat([0, 1, 2], [150, 100, 50])


@pytest.fixture(scope="module")
def started(corpus) -> UCE:
    torch.manual_seed(0)
    network = UCE(TINY).eval()
    start_from_bag(network, *corpus)
    return network.requires_grad_(requires_grad=False)


def test_the_gate_starts_at_the_rarity_of_the_genes(started, corpus):
    vocabulary, frequency, *_ = corpus
    seen = frequency > 0
    rarity = np.log(1 / frequency[seen]) ** 0.5
    gate = started.bag(vocabulary)[seen].norm(dim=1).numpy()
    assert np.corrcoef(gate, rarity)[0, 1] > 0.95


def test_the_cells_start_centered_on_the_noise_adjusted_axes(corpus):
    vocabulary, _, counts, sets = corpus
    torch.manual_seed(0)
    network = UCE(TINY)
    start_from_bag(network, *corpus, steps=20)
    network.requires_grad_(requires_grad=False)
    share = counts.toarray() / counts.sum(axis=1).reshape(-1, 1)
    sums = (np.log1p(100 * share) @ network.bag(vocabulary).numpy()).astype(np.float32)
    z = network.bag.cell(torch.from_numpy(sums)).numpy()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-4)
    axes = noise_adjusted_axes(sums, sparse.csr_matrix(np.log1p(1e4 * share)), sets, 18)
    expected = (sums - sums.mean(axis=0)) @ axes.T
    np.testing.assert_allclose(z @ z.T, expected @ expected.T, atol=1e-3)


def test_the_sentence_and_the_head_start_at_zero(started, corpus):
    vocabulary, _, counts, _ = corpus
    bag = torch.from_numpy(bag_weights(counts[:3], 100) @ started.bag(vocabulary).numpy())
    tokens = started.encode_tokens(vocabulary)[torch.arange(12).reshape(3, 4)]
    cells = started.embed(tokens, bag=bag)
    torch.testing.assert_close(cells, started.embed(None, bag=bag))
    assert not started.predict(cells, vocabulary).any()

"""The expected sentence against the average of many drawn ones, and attention to it against attention to copies."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from tests.helpers.tiny import tiny_network, tiny_table
from univerce.genes.table import CLS, N_SPECIAL, RIGHT
from univerce.inference.expected import expected_sentences
from univerce.inference.runtime import Embedder, Genes
from univerce.inference.tokens import GenomeOrder, cell_keys, tokenize
from univerce.model.network import SelfAttention, sinusoids

N_GENES, N_DRAWS = 12, 30


@pytest.fixture(scope="module")
def order() -> GenomeOrder:
    rng = np.random.default_rng(0)
    return GenomeOrder.build(np.array([0] * 6 + [1] * 4 + [2] * 2), rng.permutation(N_GENES))


def one_cell(seed: int = 0) -> sp.csr_matrix:
    counts = np.random.default_rng(seed).poisson(2.0, N_GENES).astype(np.float32)
    counts[3], counts[7] = 0, 60
    return sp.csr_matrix(counts[None])


def expected(counts, order, keys=None, **options):
    keys = np.arange(counts.shape[0], dtype=np.uint64) if keys is None else keys
    options = {"n_sample": N_DRAWS, "max_length": 80} | options
    return expected_sentences(counts, np.arange(counts.shape[1], dtype=np.int32), order, keys, **options)


def test_counts_and_positions_are_the_means_of_drawn_sentences(order):
    """Over 40,000 draws of one cell, every order of its chromosomes among them."""
    n, counts = 40_000, one_cell()
    many = sp.vstack([counts] * n, format="csr")
    keys = cell_keys([str(i) for i in range(n)], 0)
    drawn = tokenize(many, np.arange(N_GENES, dtype=np.int32), order, keys, n_sample=N_DRAWS, max_length=80)
    s = expected(sp.vstack([counts] * 600, format="csr"), order, keys[:600])
    for token in range(N_SPECIAL, N_SPECIAL + N_GENES + 3):
        at = np.nonzero(drawn.ids == token)[1]
        mine = s.ids == token
        if not len(at):
            assert not mine.any()
            continue
        assert (mine.sum(axis=1) == 1).all(), "once in every sentence"
        copies = np.exp(s.log_counts[mine])
        assert np.ptp(copies) < 1e-5
        assert copies[0] == pytest.approx(len(at) / n, rel=0.03)
        assert s.positions[mine].mean() == pytest.approx(at.mean(), abs=0.6)  # 600 orders of three chromosomes


def test_one_chromosome_leaves_nothing_to_chance(order):
    counts = one_cell()
    counts = sp.csr_matrix(counts.toarray() * (np.arange(N_GENES) < 6))
    s = expected(sp.vstack([counts] * 5, format="csr"), order)
    for part in (s.ids, s.log_counts, s.positions):
        assert (part == part[0]).all()
    assert s.ids.shape == (5, counts.nnz + 3)
    p = np.log1p(counts.data) / np.log1p(counts.data).sum()
    by_rank = np.argsort(order.rank[counts.indices])
    np.testing.assert_allclose(s.log_counts[0, 2:-1], np.log(N_DRAWS * p[by_rank]), rtol=1e-5)
    before = np.cumsum(p[by_rank]) - p[by_rank]
    np.testing.assert_allclose(s.positions[0, 2:-1], 2 + (N_DRAWS - 1) * (before + p[by_rank] / 2), rtol=1e-5)
    assert s.ids[0, [0, -1]].tolist() == [CLS, RIGHT]
    assert s.positions[0, [0, 1, -1]].tolist() == pytest.approx([0, 1, 2 + N_DRAWS])
    assert s.log_counts[0, [0, 1, -1]].tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_many_small_chromosomes_are_pooled_and_a_cell_without_counts_has_no_sentence():
    order = GenomeOrder.build(np.arange(N_GENES), np.arange(N_GENES))
    s = expected(sp.csr_matrix(np.array([[1.0] * N_GENES, [0] * N_GENES])), order, max_length=N_DRAWS + 1 + 2 * 4)
    assert s.pooled.tolist() == [True, False]
    assert s.lengths.tolist() == [1 + N_GENES + 2 * 4, 0]
    assert s.positions.max() <= N_DRAWS + 2 * 4


@pytest.fixture
def attention() -> SelfAttention:
    return tiny_network().transformer_encoder.layers[0].self_attn


@pytest.mark.parametrize("cls_only", [False, True])
def test_a_log_count_weighs_like_so_many_copies(attention, cls_only):
    """softmax(q k + log m) v is attention to m equal tokens, exactly."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 16, generator=rng)
    copies = torch.tensor([1, 3, 1, 7, 2])
    repeated = attention(x.repeat_interleave(copies, dim=1), None, cls_only=cls_only)
    weighted = attention(x, copies.log().expand(2, 1, 1, 5), cls_only=cls_only)
    first = copies.cumsum(0) - copies
    torch.testing.assert_close(weighted, repeated if cls_only else repeated[:, first], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_attention_to_the_expected_sentence_is_the_limit_of_attention_to_drawn_ones(attention):
    """The mean over draws of one head's output comes as near as one over the number of draws."""
    rng = np.random.default_rng(0)
    x, p = torch.randn(1, 9, 16, generator=torch.Generator().manual_seed(1)), rng.dirichlet(np.ones(8))
    far = {}
    for n in (20, 2000):
        drawn = torch.from_numpy(rng.multinomial(n, p, 3000))
        weights = torch.cat([torch.ones(3000, 1), drawn], dim=1).log()[:, None, None]
        mean = attention(x.expand(3000, -1, -1), weights.float(), cls_only=True).mean(dim=0)
        bias = torch.from_numpy(np.concatenate([[0.0], np.log(n * p)])).float()[None, None, None]
        limit = attention(x, bias, cls_only=True)[0]
        far[n] = float((mean - limit).norm() / limit.norm())
    assert far[20] < 0.15
    assert far[2000] < 0.005
    assert far[2000] < far[20] / 5


def test_a_network_reads_whole_positions_from_its_table_and_mixes_between():
    network = tiny_network()
    tokens = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    whole = torch.arange(6.0).expand(2, 6)
    torch.testing.assert_close(network.embed(tokens, positions=whole), network.embed(tokens))
    table = sinusoids(network.config)[:, 0]
    codes = network._position_codes(1, torch.tensor([[2.25], [79.5]]))
    torch.testing.assert_close(codes[0, 0], 0.75 * table[2] + 0.25 * table[3])
    torch.testing.assert_close(codes[1, 0], table[79])


def test_batches_of_expected_sentences_are_padded_without_a_trace():
    table, rng = tiny_table("human"), np.random.default_rng(0)
    genes = Genes(table, np.arange(table.n_obs, dtype=np.int32))
    X = sp.csr_matrix(rng.poisson(rng.gamma(0.3, 1, (20, table.n_obs))) * (rng.random((20, 1)) > 0.1)).astype(
        np.float32
    )
    s = expected_sentences(X, genes.rows, genes.order(), cell_keys([str(i) for i in range(20)], 0), n_sample=40,
                           max_length=80)  # fmt: skip
    assert len(np.unique(s.lengths)) > 5
    out = {size: Embedder(tiny_network(), table, official=False, batch_size=size).embed(s) for size in (1, 7)}
    np.testing.assert_allclose(out[1], out[7], atol=1e-5)
    assert np.isnan(out[1][:, 0]).tolist() == (s.lengths == 0).tolist()


def test_the_expected_sentence_is_near_the_mean_of_many_drawn_ones():
    table, rng = tiny_table("human"), np.random.default_rng(0)
    genes = Genes(table, np.arange(table.n_obs, dtype=np.int32))
    X = sp.csr_matrix(rng.poisson(np.exp(rng.normal(0, 1, (6, table.n_obs)))).astype(np.float32))
    embedder = Embedder(tiny_network(), table, official=False, batch_size=64)
    names = [str(i) for i in range(6)]
    sizes = {"n_sample": 60, "max_length": 80}

    def mean(make, n):
        total = sum(embedder.embed(make(X, genes.rows, genes.order(), cell_keys(names, 0, draw=d), **sizes))
                    for d in range(n))  # fmt: skip
        return total / np.linalg.norm(total, axis=1, keepdims=True)

    many = mean(tokenize, 200)
    near = np.sum(mean(expected_sentences, 20) * many, axis=1)
    one = np.sum(mean(tokenize, 1) * many, axis=1)
    assert near.min() > 0.9
    assert near.mean() > one.mean()

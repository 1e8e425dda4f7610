from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from tests.helpers.typed_cells import typed_cells
from univerce.bench.methods._sequences import counts_of_tokens, embed_by_length, gene_names, require_coverage


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, np.asarray])
def test_counts_are_summed_by_token_and_what_has_none_is_left_out(form):
    x = np.random.default_rng(0).poisson(1.0, (20, 9)).astype(np.float32)
    token = np.array([3, -1, 0, 3, 5, -1, 1, 3, 0])
    expected = np.zeros((20, 7))
    for j, t in enumerate(token):
        if t >= 0:
            expected[:, t] += x[:, j]
    got = counts_of_tokens(form(x), token, 7)
    np.testing.assert_array_equal(got.toarray(), expected)
    assert got.has_sorted_indices
    assert got.nnz == np.count_nonzero(expected)
    stored_zero = sp.csr_matrix((np.array([0.0, 2.0]), ([0, 0], [0, 1])))
    assert counts_of_tokens(stored_zero, np.array([0, 1]), 2).nnz == 1


def test_coverage_is_the_share_of_the_counts_and_too_little_is_refused():
    x = np.array([[1.0, 3.0], [0.0, 4.0]])
    counts = counts_of_tokens(x, np.array([0, -1]), 1)
    assert require_coverage(counts, x, 0.1, "it") == 1 / 8
    with pytest.raises(ValueError, match=r"Only 12\.5% of the counts are in genes that it knows, less than .*=50%"):
        require_coverage(counts, x, 0.5, "it")


def test_gene_names_come_from_a_column_when_told_so():
    cells = typed_cells(n_genes=3)
    cells.var["symbol"] = ["A", None, "B"]
    assert gene_names(cells, None).tolist() == ["gene0", "gene1", "gene2"]
    assert gene_names(cells, "symbol").tolist() == ["A", "", "B"]
    with pytest.raises(KeyError, match="gene_key='name' is not in var; its columns are: 'symbol'"):
        gene_names(cells, "name")


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_are_padded_and_masked_and_come_back_in_the_order_of_the_cells(batch_size):
    lengths = [3, 0, 5, 1, 5, 0, 2]
    ids = [np.arange(10 * i, 10 * i + n) for i, n in enumerate(lengths)]
    values = [np.full(n, i, dtype=np.float32) for i, n in enumerate(lengths)]
    seen = []

    def forward(tokens, weights, mask):
        seen.append(mask.sum(axis=1).tolist())
        assert (tokens[~mask] == -7).all()
        assert (weights[~mask] == 99).all()
        return np.stack([np.where(mask, tokens, 0).sum(axis=1), weights[:, 0]], axis=1)

    got = embed_by_length([ids, values], [-7, 99], forward, n_dims=2, batch_size=batch_size)
    for i, n in enumerate(lengths):
        expected = [ids[i].sum(), i] if n else [np.nan, np.nan]
        np.testing.assert_array_equal(got[i], expected)
    assert [n for batch in seen for n in batch] == [5, 5, 3, 2, 1]

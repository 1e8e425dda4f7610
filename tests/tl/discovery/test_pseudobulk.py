"""Sums per sample, the filter of genes and the choice of the design, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from univerce.tl.discovery._comparison import choose_design
from univerce.tl.discovery._pseudobulk import aggregate, filter_by_expr


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_sums_and_numbers_of_cells_by_hand(dtype):
    X = sp.csr_matrix(np.array([[200, 3, 0], [100, 0, 0], [4, 4, 0], [5, 5, 0]], dtype=dtype))
    samples = np.array([2, 2, 10, -1])
    np.testing.assert_array_equal(aggregate(X, samples), [[300, 3, 0], [4, 4, 0]])
    np.testing.assert_array_equal(aggregate(X, samples, "count_nonzero"), [[2, 1, 0], [1, 1, 0]])


def test_genes_with_enough_counts_by_hand():
    """Samples of 1,000, 2,000, 2,000 and 4,000 counts: 10 counts in the median size are 0.5 % of a sample."""
    sums = np.array([
        [5, 4, 0, 0, 5, 0],
        [10, 10, 15, 14, 9, 0],
        [0, 10, 0, 0, 0, 0],
        [0, 0, 20, 0, 0, 0],
    ])  # fmt: skip
    sums = np.column_stack([sums, [1000, 2000, 2000, 4000] - sums.sum(axis=1)])
    kept = filter_by_expr(sums, np.array([0, 0, 1, 1]))
    # two samples reach 0.5 % in gene 0 (5 of 1,000, 10 of 2,000), 1 (10, 10), 2 (15 of 2,000, 20 of 4,000)
    assert kept.tolist() == [True, True, True, False, False, False, True]
    kept = filter_by_expr(sums, np.array([0, 1, 1, 1]))  # one sample is enough, with 15 counts in all
    assert kept.tolist() == [True, True, True, False, False, False, True]
    assert filter_by_expr(sums[:, [3, 6]], np.array([0, 1, 1, 1]), min_total_count=14).tolist() == [True, True]


def test_large_groups_need_a_share_of_their_samples():
    """Of 20 samples 10 + 0.7 x 10 = 17 are enough."""
    sums = np.full((40, 3), 1000)
    sums[17:, 0] = sums[16:, 1] = 0
    assert filter_by_expr(sums, np.repeat([0, 1], 20)).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("n_both", "n_control", "n_case", "name", "n_used"),
    [
        (3, 0, 0, "paired", 6),
        (3, 2, 0, "paired", 6),
        (3, 2, 1, "unpaired", 9),
        (0, 3, 3, "unpaired", 6),
        (2, 0, 0, None, 0),
        (2, 4, 0, None, 0),
        (0, 3, 2, None, 0),
    ],
)
def test_donors_are_paired_if_most_have_both_samples(n_both, n_control, n_case, name, n_used):
    enough = np.array([[True, True]] * n_both + [[True, False]] * n_control + [[False, True]] * n_case)
    chosen = choose_design(enough)
    assert (chosen and chosen[0]) == name
    if chosen:
        assert chosen[1].sum() == n_used
        assert not (chosen[1] & ~enough).any()

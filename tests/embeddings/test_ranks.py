"""Kernels of centroid alignment, against loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

from univerce.embeddings.ranks import (
    any_same,
    check_options,
    distances,
    first_same,
    rank_reference,
    shuffle_within,
    shuffled_hits,
    summarize,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(("metric", "oracle"), [("euclidean", euclidean_distances), ("cosine", cosine_distances)])
def test_distances_equal_those_of_scikit_learn(rng, metric, oracle):
    a, b = rng.normal(size=(7, 5)), rng.normal(size=(9, 5))
    np.testing.assert_allclose(distances(a, b, metric), oracle(a, b), atol=1e-12)


def test_a_centroid_of_zeros_has_no_direction(rng):
    with pytest.raises(ValueError, match=r"1 of 2 centroids are zero .* metric='euclidean'"):
        distances(rng.normal(size=(3, 3)), np.eye(3)[:2] * [[0], [1]], "cosine")


def test_ranks_of_a_line_are_those_counted_by_hand():
    query, reference = np.array([[0.0], [10.0], [-0.5]]), np.array([[3.0], [11.0], [1.0]])
    ranks = rank_reference(query, reference)
    np.testing.assert_array_equal(ranks.rank_cross, [[2, 3, 1], [2, 1, 3], [2, 3, 1]])
    # the first has its own third at 0.5; the second nothing before 10; the third its own first at 0.5
    np.testing.assert_array_equal(ranks.rank_either, [[3, 5, 2], [2, 1, 3], [3, 5, 2]])


def test_ties_count_as_nearer_than_the_match():
    ranks = rank_reference(np.array([[0.0], [1.0]]), np.array([[1.0], [-1.0]]))
    np.testing.assert_array_equal(ranks.rank_cross[0], [2, 2])
    np.testing.assert_array_equal(ranks.rank_either[0], [3, 3])


def test_shuffled_hits_have_the_distribution_of_all_permutations(rng):
    ranks = np.array([[1, 2, 3, 4], [2, 1, 4, 3], [4, 3, 2, 1]])
    match = np.array([0, 1, -1])
    every = [
        [sum(ranks[i, order[match[i]]] <= k for i in (0, 1)) for k in (1, 3)]
        for order in itertools.permutations(range(4))
    ]
    drawn = shuffled_hits(ranks, match, (1, 3), 20_000, rng)
    for column in (0, 1):
        expected = np.bincount(np.array(every)[:, column], minlength=3) / 24
        got = np.bincount(drawn[:, column], minlength=3) / 20_000
        np.testing.assert_allclose(got, expected, atol=0.02)  # more than five standard errors


def test_without_a_shared_type_nothing_is_hit(rng):
    assert shuffled_hits(np.ones((2, 3)), np.array([-1, -1]), (1,), 5, rng).sum() == 0
    assert shuffled_hits(np.ones((2, 0)), np.array([-1, -1]), (1,), 5, rng).shape == (5, 1)


def test_the_nearest_of_the_same_type_equals_a_loop(rng):
    points, types = rng.normal(size=(30, 4)), np.array([*"abcdefghij"] * 3)
    types[0] = "alone"
    apart = euclidean_distances(points)
    expected = []
    for i in range(30):
        order = sorted((j for j in range(30) if j != i), key=lambda j: apart[i, j])
        places = [place for place, j in enumerate(order, start=1) if types[j] == types[i]]
        expected.append(min(places, default=np.inf))
    np.testing.assert_array_equal(first_same(points, types)[0], expected)


def test_shuffling_stays_within_the_blocks(rng):
    types, blocks = np.array([0, 1, 2, 3, 4, 5]), np.array([1, 0, 1, 0, 1, 1])
    shuffled = shuffle_within(types, blocks, 50, rng)
    assert (np.sort(shuffled[:, blocks == 0], axis=1) == [1, 3]).all()
    assert (np.sort(shuffled[:, blocks == 1], axis=1) == [0, 2, 4, 5]).all()
    assert len(np.unique(shuffled, axis=0)) > 20


def test_neighbors_of_the_same_type_equal_a_loop(rng):
    near = rng.random((12, 12)) < 0.2
    types = rng.integers(0, 4, (6, 12))
    expected = [[any(near[i, j] and t[i] == t[j] for j in range(12)) for i in range(12)] for t in types]
    np.testing.assert_array_equal(any_same(near, types), expected)


def test_a_share_is_compared_with_chance():
    row = summarize(3, 4, np.array([0, 1, 1, 3, 4]))
    assert (row["n"], row["hits"], row["share"]) == (4, 3, 0.75)
    assert row["chance"] == pytest.approx(9 / 5 / 4)
    assert row["p_value"] == (1 + 2) / (1 + 5)
    assert (row["chance_low"], row["chance_high"]) == tuple(np.quantile([0, 0.25, 0.25, 0.75, 1], [0.025, 0.975]))


@pytest.mark.parametrize("n", [0, 2])
def test_without_shuffles_or_types_there_is_no_chance(n):
    row = summarize(0, n, np.empty(0) if n else np.zeros(4))
    assert np.isnan([row["chance"], row["p_value"]]).all()
    assert np.isnan(row["share"]) == (n == 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k=0 must be an integer >= 1"),
        ({"k": ()}, "k is empty"),
        ({"k": (1, 2.5)}, "k=2.5 must be"),
        ({"metric": "manhattan"}, "metric='manhattan' is not known"),
        ({"n_permutations": -1}, "n_permutations=-1 must be an integer >= 0"),
        ({"min_cells": True}, "min_cells=True must be"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_invalid_options_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        check_options(**({"k": (1, 3), "metric": "euclidean", "n_permutations": 10, "min_cells": 1} | change))


def test_numbers_of_neighbors_are_sorted_and_unique():
    assert check_options((3, 1, 3), "cosine", 0, 1) == (1, 3)
    assert check_options(np.int64(2), "cosine", 0, 1) == (2,)

"""Noise-adjusted axes against scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.linalg import eigh
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from univerce.training.axes import nearest_cells, noise_adjusted_axes

DIM = 12


@pytest.fixture(scope="module")
def cells():
    """Two data sets of 60 and 40 cells of three kinds each, that differ in one direction as wholes."""
    rng = np.random.default_rng(0)
    sets = np.repeat([3, 7], [60, 40])
    kind = rng.integers(3, size=100)
    bags = rng.standard_normal((3, DIM))[kind] + 0.4 * rng.standard_normal((100, DIM)) * np.linspace(0.5, 2, DIM)
    bags[sets == 7] += 5
    expression = sparse.random_array((100, 50), density=0.3, rng=rng, format="csr")
    expression = sparse.csr_matrix(expression + sparse.csr_matrix(2 * np.eye(3)[kind] @ rng.random((3, 50))))
    return bags.astype(np.float32), expression, sets


def neighbors_of(expression, sets):
    """For every cell the ten nearest others of its set on 20 components."""
    for k in np.unique(sets):
        rows = np.flatnonzero(sets == k)
        scores = PCA(20, svd_solver="full").fit_transform(expression[rows].toarray())
        yield rows, NearestNeighbors(n_neighbors=10, algorithm="brute").fit(scores).kneighbors()[1]


def test_neighbors_are_those_on_twenty_principal_components(cells):
    _, expression, sets = cells
    for rows, expected in neighbors_of(expression, sets):
        np.testing.assert_array_equal(nearest_cells(expression[rows]), expected)


def test_axes_solve_the_eigenproblem_of_signal_over_noise(cells):
    bags, expression, sets = cells
    noise, total = np.zeros((DIM, DIM)), np.zeros((DIM, DIM))
    for rows, neighbors in neighbors_of(expression, sets):
        x = bags[rows].astype(float)
        for i in range(len(x)):
            apart = x[i] - x[neighbors[i]].mean(axis=0)
            noise += 10 / 11 * np.outer(apart, apart)
        total += len(x) * np.cov(x.T, bias=True)
    ratio, vectors = eigh(total - noise, noise + 0.2 * np.trace(noise) / DIM * np.eye(DIM))
    ratio = np.clip(ratio[::-1], 0, None)
    expected = vectors[:, ::-1].T * (ratio**0.75 / (1 + ratio))[:, None]
    axes = noise_adjusted_axes(bags, expression, sets, DIM)
    assert (ratio > 0.1).sum() >= 2
    np.testing.assert_allclose(np.abs(axes), np.abs(expected), atol=1e-5)
    np.testing.assert_allclose(axes.T @ axes, expected.T @ expected, atol=1e-5)
    np.testing.assert_array_equal(noise_adjusted_axes(bags, expression, sets, 2), axes[:2])


def test_differences_between_data_sets_are_ignored(cells):
    bags, expression, sets = cells
    moved = bags + np.where(sets == 7, -3, 2)[:, None] * np.arange(DIM, dtype=np.float32)
    axes, of_moved = (noise_adjusted_axes(x, expression, sets, 5) for x in (bags, moved))
    np.testing.assert_allclose(of_moved.T @ of_moved, axes.T @ axes, atol=1e-4)


def test_a_set_of_one_cell_adds_nothing_and_rows_beyond_the_dimensions_are_zero(cells):
    bags, expression, sets = cells
    alone = np.r_[sets[:-1], 9]
    axes = noise_adjusted_axes(bags, expression, alone, DIM + 3)
    np.testing.assert_array_equal(axes[:DIM], noise_adjusted_axes(bags[:-1], expression[:-1], sets[:-1], DIM))
    assert not axes[DIM:].any()


def test_without_two_cells_in_any_set_there_are_no_axes(cells):
    bags, expression, _ = cells
    assert not noise_adjusted_axes(bags[:3], expression[:3], np.arange(3), 4).any()

"""Noise-adjusted axes against scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.linalg import eigh
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from univerce.training.axes import nearest_cells, noise_adjusted_axes, scatter

DIM = 12


@pytest.fixture(scope="module")
def cells():
    """60 cells of three kinds, and their expression."""
    rng = np.random.default_rng(0)
    kind = rng.integers(3, size=60)
    values = rng.standard_normal((3, DIM))[kind] + 0.4 * rng.standard_normal((60, DIM)) * np.linspace(0.5, 2, DIM)
    expression = sparse.csr_matrix(rng.random((60, 2500)) * (rng.random((60, 2500)) < 0.1))
    expression = sparse.csr_matrix(expression + sparse.csr_matrix(2 * np.eye(3)[kind] @ rng.random((3, 2500))))
    return values.astype(np.float32), expression


def neighbors_of(expression) -> np.ndarray:
    """The ten nearest other cells on 20 components of the 2,000 genes of the highest variance."""
    dense = expression.toarray()
    dense = dense[:, np.argsort(-dense.var(axis=0))[:2000]]
    scores = PCA(20, svd_solver="full").fit_transform(dense)
    return NearestNeighbors(n_neighbors=10, algorithm="brute").fit(scores).kneighbors()[1]


def test_neighbors_are_those_on_twenty_principal_components_of_variable_genes(cells):
    _, expression = cells
    np.testing.assert_array_equal(nearest_cells(expression), neighbors_of(expression))


def test_axes_solve_the_eigenproblem_of_signal_over_noise(cells):
    values, expression = cells
    neighbors = neighbors_of(expression)
    noise = np.zeros((DIM, DIM))
    for x, near in zip(values.astype(float), neighbors, strict=True):
        apart = x - values[near].astype(float).mean(axis=0)
        noise += 10 / 11 * np.outer(apart, apart)
    total = len(values) * np.cov(values.T.astype(float), bias=True)
    found = scatter(values, neighbors)
    np.testing.assert_allclose(found[0], noise, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[1], total, rtol=1e-4, atol=1e-4)
    ridged = noise + 0.7 * np.eye(DIM)
    ratio, vectors = eigh(total - ridged, ridged)
    ratio = np.clip(ratio[::-1], 0, None)
    expected = vectors[:, ::-1] * (ratio**0.75 / (1 + ratio))
    axes = noise_adjusted_axes(noise, total, DIM, ridge=0.7, power=0.75)
    assert (ratio > 0.1).sum() >= 2
    np.testing.assert_allclose(np.abs(axes), np.abs(expected), atol=1e-5)
    two = noise_adjusted_axes(noise, total, 2, ridge=0.7, power=0.75)
    np.testing.assert_allclose(np.abs(two), np.abs(axes[:, :2]), atol=1e-5)


def test_axes_beyond_the_dimensions_or_without_signal_are_zero():
    noise = np.eye(4)
    axes = noise_adjusted_axes(noise, np.diag([3.0, 1.0, 0.5, 2.0]), 6, ridge=0.0, power=1.0)
    np.testing.assert_allclose(np.abs(axes[:, 0]), [2 / 3, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(np.abs(axes[:, 1]), [0, 0, 0, 1 / 2], atol=1e-6)
    assert not axes[:, 2:].any()

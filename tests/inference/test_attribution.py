"""Integrated gradients: by hand, against finite differences, and what they add up to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers.tiny import gentle_network
from univerce.inference.attribution import gauss_legendre, integrated_gradients


def inputs(network, seed=0, n=3, length=9):
    generator = torch.Generator().manual_seed(seed)
    config = network.config
    tokens, baseline = (torch.randn(n, length, config.d_model, generator=generator) for _ in range(2))
    baseline[:, 0] = tokens[:, 0]
    direction = torch.nn.functional.normalize(torch.randn(config.output_dim, generator=generator), dim=0)
    return tokens, baseline, direction


def test_the_quadrature_is_exact_for_polynomials():
    places, weights = gauss_legendre(4)
    for power in range(8):
        assert weights @ places**power == pytest.approx(1 / (power + 1))


def test_attributions_add_up_to_the_difference_of_the_outputs():
    network = gentle_network()
    tokens, baseline, direction = inputs(network)
    found = integrated_gradients(network, tokens, baseline, direction, n_steps=120)
    np.testing.assert_allclose(found.tokens.sum(axis=1), found.output - found.baseline, atol=2e-3)
    np.testing.assert_allclose(found.output, (network.embed(tokens) @ direction).numpy(), atol=1e-6)
    assert np.abs(found.output - found.baseline).max() > 0.03
    np.testing.assert_array_equal(found.tokens[:, 0], 0)


def test_gradients_are_those_of_finite_differences():
    """One step is the gradient halfway, times the difference."""
    network = gentle_network().double()
    tokens, baseline, direction = (x.double() for x in inputs(network))
    halfway = (tokens + baseline) / 2
    found = integrated_gradients(network, tokens, baseline, direction, n_steps=1)
    eps = 1e-4
    for place in (1, 5):
        step = torch.zeros_like(halfway)
        step[:, place] = eps * (tokens - baseline)[:, place]
        high, low = (network.embed(halfway + s * step) @ direction for s in (1, -1))
        np.testing.assert_allclose(found.tokens[:, place], ((high - low) / (2 * eps)).numpy(), rtol=2e-2, atol=2e-3)

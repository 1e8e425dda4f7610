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
    bag, bag_baseline = (torch.randn(n, config.token_dim, generator=generator) for _ in range(2))
    bags = {"bag": bag, "bag_baseline": bag_baseline} if config.bag else {}
    return tokens, baseline, direction, bags


def test_the_quadrature_is_exact_for_polynomials():
    places, weights = gauss_legendre(4)
    for power in range(8):
        assert weights @ places**power == pytest.approx(1 / (power + 1))


@pytest.mark.parametrize("bag", [False, True], ids=["sentences alone", "with a bag"])
def test_attributions_add_up_to_the_difference_of_the_outputs(bag):
    network = gentle_network(bag=bag)
    tokens, baseline, direction, bags = inputs(network)
    found = integrated_gradients(network, tokens, baseline, direction, n_steps=120, **bags)
    total = found.tokens.sum(axis=1)
    if bag:
        step = (bags["bag"] - bags["bag_baseline"]).numpy()
        total = total + (found.bag_gradient * step).sum(axis=1)
    np.testing.assert_allclose(total, found.output - found.baseline, atol=2e-3)
    output = network.embed(tokens, bag=bags.get("bag")) @ direction
    np.testing.assert_allclose(found.output, output.numpy(), atol=1e-6)
    assert np.abs(found.output - found.baseline).max() > 0.03
    np.testing.assert_array_equal(found.tokens[:, 0], 0)


def test_gradients_are_those_of_finite_differences():
    """One step is the gradient halfway, times the difference."""
    network = gentle_network(bag=True).double()
    tokens, baseline, direction, bags = inputs(network)
    tokens, baseline, direction = tokens.double(), baseline.double(), direction.double()
    halfway = (tokens + baseline) / 2
    middle = (bags["bag"] + bags["bag_baseline"]) / 2
    found = integrated_gradients(network, tokens, baseline, direction, n_steps=1, **bags)
    eps = 1e-4
    for place in (1, 5):
        step = torch.zeros_like(halfway)
        step[:, place] = eps * (tokens - baseline)[:, place]
        high, low = (network.embed(halfway + s * step, bag=middle) @ direction for s in (1, -1))
        np.testing.assert_allclose(found.tokens[:, place], ((high - low) / (2 * eps)).numpy(), rtol=2e-2, atol=2e-3)


def test_a_sentence_without_effect_has_no_attribution():
    network = gentle_network(bag=True)
    for parameter in network.decoder[-1].parameters():
        parameter.zero_()
    tokens, baseline, direction, bags = inputs(network)
    found = integrated_gradients(network, tokens, baseline, direction, n_steps=40, **bags)
    assert not found.tokens.any()
    np.testing.assert_allclose(found.output, (network.embed(tokens, bag=bags["bag"]) @ direction).numpy(), atol=1e-6)
    step = (bags["bag"] - bags["bag_baseline"]).numpy()
    np.testing.assert_allclose((found.bag_gradient * step).sum(axis=1), found.output - found.baseline, atol=2e-3)

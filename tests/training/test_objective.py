"""The loss against plain loops over cells and queries."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.test_loop import BAG, MODEL, RECIPE, SETS
from univerce.model import UCE
from univerce.training.corpus import Corpus
from univerce.training.objective import CONTRAST_TEMPERATURE, Objective, Task, contrast


def corpus(**changes) -> Corpus:
    args = {"n_queries": 8, "mask_fraction": 0.2, "n_sample": 30, "systematic": True, "max_length": 64}
    return Corpus(SETS, **(args | changes))


@pytest.mark.parametrize("model", [pytest.param(MODEL, id="as released"), pytest.param(BAG, id="with a bag")])
@pytest.mark.parametrize("offset", [True, False], ids=["offset", "no offset"])
def test_the_loss_is_the_cross_entropy_averaged_over_queries_and_cells(model, offset):
    c = corpus()
    batch = c.sample(10, np.random.default_rng(0))
    torch.manual_seed(0)
    network = UCE(model).eval()
    features = torch.from_numpy(c.features)
    losses = []
    with torch.no_grad():
        for i, n in enumerate(batch.lengths):  # each cell alone, each query alone
            bag = None
            if model.bag:
                row = batch.bag[i]
                weights = np.log(1 + model.bag_scale * row.data / row.data.sum()).astype(np.float32)
                bag = (torch.from_numpy(weights) @ network.bag(features[row.indices.astype(int)]))[None]
            tokens = network.encode_tokens(features[batch.ids[i, :n].astype(int)])
            cell = network.embed(tokens[None], bag=bag)
            for q, token in enumerate(batch.queries[i]):
                logit = float(network.predict(cell, features[[int(token)]])[0, 0])
                logit += float(batch.offsets[i, q]) if offset else 0.0
                p = 1 / (1 + math.exp(-logit))
                losses.append(-math.log(p) if q < 4 else -math.log(1 - p))
        found = Objective(network, features, replace(RECIPE, frequency_offset=offset))(Task(batch, None, 0))
    assert float(found) == pytest.approx(np.mean(losses), abs=2e-5)


def slow_contrast(one: np.ndarray, other: np.ndarray, sets: list[int], there: list[bool]) -> float:
    total = 0.0
    for a, b in ((one, other), (other, one)):
        for i in range(len(a)):
            if not there[i]:
                continue
            rivals = [j for j in range(len(a)) if sets[j] == sets[i] and there[j]]
            scores = [math.exp(float(a[i] @ b[j]) / CONTRAST_TEMPERATURE) for j in rivals]
            total -= math.log(math.exp(float(a[i] @ b[i]) / CONTRAST_TEMPERATURE) / sum(scores))
    return total / (2 * len(one))


def test_a_view_is_told_from_the_other_cells_of_its_data_set_alone():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 7, 4))
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
    sets, there = [0, 0, 0, 2, 2, 2, 5], [True, True, False, True, True, True, True]
    found = contrast(*(torch.from_numpy(x) for x in (one, other, np.array(sets), np.array(there))))
    assert float(found) == pytest.approx(slow_contrast(one, other, sets, there), abs=1e-5)


def test_the_contrastive_term_is_added_with_its_weight_and_has_gradients():
    c = corpus()
    plan = c.plan(12, np.random.default_rng(0), sets_per_step=2)
    torch.manual_seed(0)
    network = UCE(MODEL).eval()
    features = torch.from_numpy(c.features)
    losses = [
        Objective(network, features, replace(RECIPE, contrastive=w))(Task(c.draw(plan), c.views(plan), 0))
        for w in (0.0, 1.0, 3.0)
    ]
    values = [loss.item() for loss in losses]
    assert values[2] - values[0] == pytest.approx(3 * (values[1] - values[0]), rel=1e-4)
    assert values[1] - values[0] > 0.1
    (losses[1] - losses[0]).backward()
    assert network.decoder[-1].weight.grad.abs().sum() > 0
    assert network.binary_decoder[-1].weight.grad.abs().sum() < 1e-6  # the head has no part in it


def test_views_without_a_gene_are_left_out_and_do_not_spoil_the_loss():
    z = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    z.requires_grad_()
    loss = contrast(z, z.detach(), torch.zeros(3), torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(z.grad).all()

"""The loss against plain loops over cells and queries."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.training_cells import BAG, MODEL, RECIPE, SETS
from univerce.model import UCE
from univerce.training.corpus import Corpus
from univerce.training.objective import Objective, Task


@pytest.mark.parametrize("model", [pytest.param(MODEL, id="as released"), pytest.param(BAG, id="with a bag")])
@pytest.mark.parametrize("offset", [True, False], ids=["offset", "no offset"])
def test_the_loss_is_the_cross_entropy_averaged_over_queries_and_cells(model, offset):
    c = Corpus(SETS, model, RECIPE)
    batch = c.draw(c.plan(10, np.random.default_rng(0)))
    torch.manual_seed(0)
    network = UCE(model).eval()
    features = torch.from_numpy(c.vocabulary.features)
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
        found = Objective(network, features, replace(RECIPE, frequency_offset=offset))(Task(batch, 0))
    assert float(found) == pytest.approx(np.mean(losses), abs=2e-5)

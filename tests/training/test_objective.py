"""The loss against plain loops over cells and queries."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.training_cells import MODEL, RECIPE, SETS
from univerce.model import UCE
from univerce.training.corpus import Corpus
from univerce.training.objective import Objective, Task


@pytest.mark.parametrize("offset", [True, False], ids=["offset", "no offset"])
def test_the_loss_is_the_cross_entropy_averaged_over_queries_and_cells(offset):
    c = Corpus(SETS, MODEL, RECIPE)
    batch = c.draw(c.plan(10, np.random.default_rng(0)))
    torch.manual_seed(0)
    network = UCE(MODEL).eval()
    features = torch.from_numpy(c.vocabulary.features)
    losses = []
    with torch.no_grad():
        for i, n in enumerate(batch.lengths):  # each cell alone, each query alone
            tokens = network.encode_tokens(features[batch.ids[i, :n].astype(int)])
            cell = network.embed(tokens[None])
            for q, token in enumerate(batch.queries[i]):
                logit = float(network.predict(cell, features[[int(token)]])[0, 0])
                logit += float(batch.offsets[i, q]) if offset else 0.0
                p = 1 / (1 + math.exp(-logit))
                losses.append(-math.log(p) if q < 4 else -math.log(1 - p))
        found = Objective(network, features, replace(RECIPE, frequency_offset=offset))(Task(batch, 0))
    assert float(found) == pytest.approx(np.mean(losses), abs=2e-5)

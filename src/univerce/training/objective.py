"""The loss of a batch (Rosen et al., Methods, "Training objective")."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from univerce.model.network import UCE
from univerce.training.config import PretrainConfig
from univerce.training.corpus import Batch


class Task:
    """A batch and the seed of its dropout.

    Not a dataclass or a tuple: Fabric searches those for tensors.
    """

    def __init__(self, batch: Batch, seed: int) -> None:
        self.batch, self.seed = batch, seed


class Objective(nn.Module):
    """A network with its loss, in one forward call as distributed training needs it."""

    def __init__(self, network: UCE, vocabulary: Tensor, config: PretrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.vocabulary = vocabulary  # not a buffer, which would be synchronized at every step

    def forward(self, task: Task) -> Tensor:
        """Binary cross-entropy averaged over queries and cells."""
        _, logits = forward(self.network, task.batch, self.vocabulary, self.config)
        return F.binary_cross_entropy_with_logits(logits, targets(logits))


def forward(network: UCE, batch: Batch, vocabulary: Tensor, config: PretrainConfig) -> tuple[Tensor, Tensor]:
    """Embeddings ``[cells, output_dim]`` and logits ``[cells, n_queries]`` of a batch."""
    device = vocabulary.device
    used, where = np.unique(batch.ids, return_inverse=True)  # only tokens that occur are encoded
    places = torch.from_numpy(where.reshape(batch.ids.shape)).to(device)
    padded = bool((batch.lengths < batch.ids.shape[1]).any())
    lengths = torch.from_numpy(batch.lengths).to(device) if padded else None
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.autocast):
        tokens = network.encode_tokens(vocabulary[torch.from_numpy(used).to(device)])
        cells = network.embed(F.embedding(places, tokens), lengths)
    logits = network.predict(cells.float(), vocabulary[torch.from_numpy(batch.queries).to(device)])
    if config.frequency_offset:
        logits = logits + torch.from_numpy(batch.offsets).to(device)
    return cells, logits


def targets(logits: Tensor) -> Tensor:
    """Targets of the queries: the first half is expressed."""
    target = torch.zeros_like(logits)
    target[:, : logits.shape[1] // 2] = 1
    return target

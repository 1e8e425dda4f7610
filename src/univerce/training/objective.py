"""The loss of a batch (Rosen et al., Methods, "Training objective"), and a contrastive term that the paper has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from univerce.model.bag import bag_weights
from univerce.model.network import UCE
from univerce.training.corpus import Batch

if TYPE_CHECKING:
    from univerce.training.config import PretrainConfig

CONTRAST_TEMPERATURE = 0.1


class Task:
    """What a process works on at a time: a batch, and two views of its cells for the contrastive term.

    No dataclass, nor a tuple: Fabric looks into those for tensors to convert, and there are none.

    Parameters
    ----------
    batch
        Cells with queries.
    views
        Two views of the same cells, or None.
    seed
        Seed of the dropout.
    """

    def __init__(self, batch: Batch, views: tuple[Batch, Batch] | None, seed: int) -> None:
        self.batch, self.views, self.seed = batch, views, seed


class Objective(nn.Module):
    """A network with its loss, in one forward call as distributed training wants it.

    Parameters
    ----------
    network
        The network.
    vocabulary
        ``[n_tokens, token_dim]`` features of all tokens, on the device of the network.
    config
        The recipe.
    """

    def __init__(self, network: UCE, vocabulary: Tensor, config: PretrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.vocabulary = vocabulary  # no buffer: it would be sent around at every step

    def forward(self, task: Task) -> Tensor:
        """The loss: binary cross-entropy averaged over queries and cells, and the weighted contrastive term."""
        _, logits = forward(self.network, task.batch, self.vocabulary, self.config)
        loss = F.binary_cross_entropy_with_logits(logits, targets(logits))
        if task.views is not None:
            one, other = (embed(self.network, view, self.vocabulary, self.config) for view in task.views)
            sets = torch.from_numpy(task.batch.sets).to(one.device)
            there = torch.from_numpy((task.views[0].lengths > 1) & (task.views[1].lengths > 1)).to(one.device)
            loss = loss + self.config.contrastive * contrast(one, other, sets, there)
        return loss


def forward(network: UCE, batch: Batch, vocabulary: Tensor, config: PretrainConfig) -> tuple[Tensor, Tensor]:
    """Embeddings ``[cells, output_dim]`` and logits ``[cells, n_queries]`` of a batch."""
    cells = embed(network, batch, vocabulary, config)
    logits = network.predict(cells.float(), vocabulary[torch.from_numpy(batch.queries).to(vocabulary.device)])
    if config.frequency_offset:
        logits = logits + torch.from_numpy(batch.offsets).to(vocabulary.device)
    return cells, logits


def embed(network: UCE, batch: Batch, vocabulary: Tensor, config: PretrainConfig) -> Tensor:
    """Embeddings of a batch; only the tokens that occur in it are encoded."""
    device = vocabulary.device
    used, where = np.unique(batch.ids, return_inverse=True)
    places = torch.from_numpy(where.reshape(batch.ids.shape)).to(device)
    lengths = torch.from_numpy(batch.lengths).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.autocast):
        tokens = network.encode_tokens(vocabulary[torch.from_numpy(used).to(device)])
        full = bool((batch.lengths == batch.ids.shape[1]).all())
        bag = _bag(network, batch, vocabulary) if network.config.bag else None
        return network.embed(F.embedding(places, tokens), None if full else lengths, bag=bag)


def _bag(network: UCE, batch: Batch, vocabulary: Tensor) -> Tensor:
    device = vocabulary.device
    weights = bag_weights(batch.bag, network.config.bag_scale)
    used, places = np.unique(weights.indices, return_inverse=True)
    with torch.autocast(device.type, enabled=False):
        vectors = network.bag(vocabulary[torch.from_numpy(used).to(device)])
        return F.embedding_bag(
            torch.from_numpy(places).to(device), vectors,
            torch.from_numpy(weights.indptr[:-1].astype(np.int64)).to(device),
            per_sample_weights=torch.from_numpy(weights.data).to(device), mode="sum",
        )  # fmt: skip


def targets(logits: Tensor) -> Tensor:
    """The first half of the queries is expressed."""
    target = torch.zeros_like(logits)
    target[:, : logits.shape[1] // 2] = 1
    return target


def contrast(one: Tensor, other: Tensor, sets: Tensor, there: Tensor) -> Tensor:
    """InfoNCE between two views of cells, against the other cells of the same data set, in both directions.

    Parameters
    ----------
    one, other
        ``[cells, output_dim]`` embeddings of unit length.
    sets
        ``[cells]`` data set of each cell. A cell that is alone of its set adds nothing.
    there
        ``[cells]`` whether both views of a cell hold a gene; the others add nothing and are nobody's negatives.

    Returns
    -------
    The mean over the cells.
    """
    logits = one.float() @ other.float().T / CONTRAST_TEMPERATURE
    compared = (sets[:, None] == sets) & there[:, None] & there
    compared = compared | torch.eye(len(sets), dtype=torch.bool, device=sets.device)
    logits = logits.masked_fill(~compared, float("-inf"))
    loss = -(logits.log_softmax(0).diagonal() + logits.log_softmax(1).diagonal()) / 2
    return loss.mean()

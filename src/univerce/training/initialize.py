"""The weights that a training starts from: a bag in closed form, or another model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from univerce.model.bag import bag_weights
from univerce.model.config import UCEConfig
from univerce.model.directory import Model
from univerce.model.find import find_model
from univerce.training.axes import noise_adjusted_axes

if TYPE_CHECKING:
    from univerce.model.network import UCE

_RAREST = 1e-3  # rarer genes have the weight of this frequency
_RARITY_POWER = 0.5
_LOG_NORM = 1e4


def start_from_bag(
    network: UCE,
    vocabulary: Tensor,
    frequency: np.ndarray,
    counts: sparse.csr_matrix,
    sets: np.ndarray,
    *,
    steps: int = 1500,
) -> None:
    """Set the weights of the bag in closed form, and all other contributions to the cell and the logits to zero.

    The gate is fitted to the inverse document frequency of the genes, from ``frequency`` ``[n_tokens]``, the share of
    cells that express a gene (0 if unknown). The projection centers the bags of ``counts`` ``[n_cells, n_tokens]`` and
    takes the axes of :func:`~univerce.training.axes.noise_adjusted_axes`: what all cells share, and what depth and
    chance add, would otherwise hide the differences between cell types.
    """
    bag, device = network.bag, vocabulary.device
    seen = torch.from_numpy(np.flatnonzero(frequency > 0)).to(device)
    rarity = torch.from_numpy(np.log(1 / np.clip(frequency, _RAREST, 1)) ** _RARITY_POWER).float().to(device)
    rarity /= rarity[seen].mean()
    weight = torch.from_numpy(np.sqrt(frequency) + 0.05).float().to(device)  # a common gene is in more bags
    optimizer = torch.optim.Adam(bag.gate.parameters(), lr=1e-3)
    for _ in range(steps):
        some = seen[torch.randint(len(seen), (2048,), device=device)]
        unit = F.normalize(vocabulary[some], dim=-1) * vocabulary.shape[1] ** 0.5
        loss = (weight[some] * (F.softplus(bag.gate(unit)[:, 0]) - rarity[some]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        used, places = np.unique(counts.indices, return_inverse=True)
        compact = sparse.csr_matrix((counts.data, places, counts.indptr), shape=(counts.shape[0], len(used)))
        genes = bag(vocabulary[torch.from_numpy(used).to(device)]).cpu().numpy()
        bags = bag_weights(compact, network.config.bag_scale) @ genes
        bag.center.copy_(torch.from_numpy(bags.mean(axis=0)))
        axes = noise_adjusted_axes(bags, bag_weights(compact, _LOG_NORM), sets, network.config.output_dim)
        bag.project.weight.copy_(torch.from_numpy(axes))
        silent: list[Any] = [network.decoder[-1], network.binary_decoder[-1], network.bilinear]
        for module in silent:
            for parameter in module.parameters():
                nn.init.zeros_(parameter)


def find_source(name: str, model: UCEConfig) -> Model:
    """Find the model to continue from, which must have the architecture of ``model`` and another name."""
    source = find_model(name)
    free = {"model_id": "", "dropout": 0.0, "n_sample": 1, "sampling": "multinomial"}
    mine, theirs = (config.to_dict() | free for config in (model, source.config))
    if different := [
        f"{key}={value!r} (it has {theirs[key]!r})" for key, value in mine.items() if value != theirs[key]
    ]:
        raise ValueError(f"continue_from={name!r} has another architecture than the model: {', '.join(different)}.")
    if model.model_id == source.config.model_id:
        raise ValueError(
            f"model_id={model.model_id!r} is the name of the model to continue from; the result is a new embedding "
            "space and needs a new name."
        )
    return source

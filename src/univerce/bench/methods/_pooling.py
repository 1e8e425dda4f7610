"""Networks of transformers over sequences of genes, averaged over the genes."""

from __future__ import annotations

from typing import Any

import numpy as np

from univerce.bench.methods._sequences import embed_by_length


def mean_of_genes(
    network: Any, sequences: list[np.ndarray], *, pad: int, ends: bool, layer: int, batch_size: int
) -> np.ndarray:
    """``[n_obs, hidden_size]`` mean of a layer's hidden states over the tokens that are genes.

    Parameters
    ----------
    network
        A model of transformers.
    sequences
        Tokens of each cell; empty for a cell without any.
    pad
        Token of the pads, which are masked.
    ends
        The first and the last token of a sequence are no genes.
    layer
        Index into the hidden states: -1 for what comes out last.
    batch_size
        Cells a batch.
    """
    import torch

    from univerce._device import choose_device

    device = choose_device()
    network.to(device).eval()

    def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        genes = mask.copy()
        if ends:
            genes[:, 0] = False
            genes[np.arange(len(mask)), mask.sum(axis=1) - 1] = False
        with torch.inference_mode():
            hidden = network(
                torch.from_numpy(ids).to(device),
                attention_mask=torch.from_numpy(mask).to(device).long(),
                output_hidden_states=True,
            ).hidden_states[layer]
            weights = torch.from_numpy(genes).to(device, hidden.dtype)[:, :, None]
            return ((hidden * weights).sum(1) / weights.sum(1)).cpu().numpy()

    return embed_by_length([sequences], [pad], forward, n_dims=network.config.hidden_size, batch_size=batch_size)

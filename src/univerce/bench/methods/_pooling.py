"""Mean pooling of the hidden states of networks of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np

from univerce.bench.methods._sequences import embed_by_length


def mean_of_genes(
    network: Any, sequences: list[np.ndarray], *, pad: int, ends: bool, layer: int, batch_size: int
) -> np.ndarray:
    """``[n_obs, hidden_size]`` mean of the hidden states of a layer over the genes of each sequence.

    With ``ends`` the first and last token of a sequence are not genes. ``pad`` is the token of masked positions.
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

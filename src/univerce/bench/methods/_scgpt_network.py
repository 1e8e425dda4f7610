"""The part of scGPT that embeds cells, under the names of its published weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_MAX_VALUE = 512


class GeneEncoder(nn.Module):
    """A vector for each gene."""

    def __init__(self, n_tokens: int, d_model: int, pad: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, d_model, padding_idx=pad)
        self.enc_norm = nn.LayerNorm(d_model)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """``[n, length]`` to ``[n, length, d_model]``."""
        return self.enc_norm(self.embedding(ids))


class ValueEncoder(nn.Module):
    """A vector for each value."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, d_model)
        self.linear2 = nn.Linear(d_model, d_model)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """``[n, length]`` to ``[n, length, d_model]``."""
        return self.norm(self.linear2(torch.relu(self.linear1(values[:, :, None].clamp(max=_MAX_VALUE)))))


class ScGPT(nn.Module):
    """Genes and values through a post-norm transformer, to the output at ``<cls>``."""

    def __init__(self, args: dict[str, Any], n_tokens: int, pad: int) -> None:
        super().__init__()
        self.encoder = GeneEncoder(n_tokens, args["embsize"], pad)
        self.value_encoder = ValueEncoder(args["embsize"])
        layer = nn.TransformerEncoderLayer(
            args["embsize"], args["nheads"], args["d_hid"], dropout=0.0, batch_first=True, norm_first=False
        )
        self.transformer_encoder = nn.TransformerEncoder(layer, args["nlayers"], enable_nested_tensor=False)

    def forward(self, ids: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """``[n, d_model]`` from tokens and values, each ``[n, length]``; ``mask`` is False on pads."""
        x = self.encoder(ids) + self.value_encoder(values)
        return self.transformer_encoder(x, src_key_padding_mask=~mask)[:, 0]


def rename_flash(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights that flash-attn saved under the names of torch's attention; others keep theirs."""
    renamed = {}
    for name, value in state.items():
        name = name.replace("self_attn._impl.", "self_attn.").replace("self_attn.Wqkv.", "self_attn.in_proj_")
        if name in renamed:
            raise ValueError(f"{name} occurs twice, under the names of flash-attn and of torch.")
        renamed[name] = value
    return renamed

"""Plain torch implementations of the forward passes of the reference networks, the oracles of the fast ones.

As in the reference of UCE, the token encoder runs on every token of every cell, the last layer attends from all
positions, the decoder runs on all positions, and torch adds the float key-padding mask to the attention logits.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from univerce.model import UCEBrainConfig, UCEConfig


def _block(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.GELU(), nn.Dropout(0.05))


class ReferenceUCE(nn.Module):
    """The reference network, built from the transformer of torch."""

    def __init__(self, config: UCEConfig) -> None:
        super().__init__()
        d, out = config.d_model, config.output_dim
        self.d_model = d
        self.pos_encoder = nn.Module()
        position = torch.arange(config.max_length)[:, None]
        rate = torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
        pe = torch.zeros(config.max_length, 1, d)
        pe[:, 0, 0::2], pe[:, 0, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
        self.pos_encoder.register_buffer("pe", pe)
        self.encoder = nn.Sequential(nn.Linear(config.token_dim, d), nn.GELU(), nn.LayerNorm(d))
        layer = nn.TransformerEncoderLayer(d, config.n_heads, config.d_hidden, 0.05)
        self.transformer_encoder = nn.TransformerEncoder(layer, config.n_layers, enable_nested_tensor=False)
        self.decoder = nn.Sequential(
            _block(d, config.decoder_dim), _block(config.decoder_dim, out), _block(out, out), nn.Linear(out, out)
        )
        self.gene_embedding_layer = nn.Sequential(
            nn.Linear(config.token_dim, config.gene_dim), nn.GELU(), nn.LayerNorm(config.gene_dim)
        )
        dims = (out + config.gene_dim, *config.head_dims)
        self.binary_decoder = nn.Sequential(*(_block(a, b) for a, b in pairwise(dims)), nn.Linear(dims[-1], 1))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """``features`` [length, cells, token_dim], ``mask`` [cells, length] (0 on pads, else 1) -> [cells, output]."""
        x = self.encoder(F.normalize(features, dim=2)) * math.sqrt(self.d_model)
        x = x + self.pos_encoder.pe[: x.shape[0]]
        x = self.transformer_encoder(x, src_key_padding_mask=1 - mask)
        return F.normalize(self.decoder(x)[0], dim=1)


class ReferenceBrain(nn.Module):
    """The network of UCE-brain from the transformer of torch, at every position of padded sentences."""

    def __init__(self, config: UCEBrainConfig) -> None:
        super().__init__()
        self.config, d = config, config.d_model
        self.embedding_layer = nn.ModuleDict(
            {"layer_norm": nn.LayerNorm(config.token_dim)} if config.token_norm else {}
        )
        self.input_gene_embedding_projector = nn.Sequential(nn.Linear(config.token_dim, d), nn.LayerNorm(d), nn.GELU())
        layer = nn.TransformerEncoderLayer(d, config.n_heads, config.d_hidden, 0.1, config.activation, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, config.n_layers, enable_nested_tensor=False)
        self.output_embedding_projector = nn.Sequential(
            nn.Linear(d, config.output_dim), nn.LayerNorm(config.output_dim)
        )

    def forward(self, features: Tensor, is_pad: Tensor, positions: Tensor) -> Tensor:
        """``features`` [cells, length, token_dim], ``is_pad`` [cells, length], ``positions`` [length, d_model]."""
        for norm in self.embedding_layer.values():
            features = norm(features)
        x = self.input_gene_embedding_projector(features) + positions
        x = self.output_embedding_projector(self.transformer_encoder(x, src_key_padding_mask=is_pad))
        return F.normalize(x[:, 0] if self.config.reduction == "cls" else x.mean(dim=1), dim=-1)


def generated_state(
    network: nn.Module, seed: int, shapes: dict[str, tuple[int, ...]] | None = None
) -> dict[str, Tensor]:
    """Weights drawn in order of names, as for the golden files; ``shapes`` overrides those of unused parameters."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, tensor in sorted(network.named_parameters()):
        w = rng.standard_normal((shapes or {}).get(name, tuple(tensor.shape))).astype(np.float32) * 0.03
        state[name] = torch.from_numpy(1 + w if w.ndim == 1 and name.endswith("weight") else w)
    return state


def generated_tokens(n_tokens: int, token_dim: int, seed: int) -> np.ndarray:
    """A token table as in the golden files: normal values, PAD zero."""
    table = np.random.default_rng(seed + 1).standard_normal((n_tokens, token_dim)).astype(np.float32)
    table[0] = 0
    return table

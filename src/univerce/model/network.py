"""The UCE network (Rosen et al. 2026), with the state-dict names of the released checkpoints.

Work without an effect on the result is left out, exactly: the token encoder depends on the token alone, so its output
is a table; only the CLS position is read, so the last layer has one query and the decoder one row.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from univerce.model.config import UCEConfig
from univerce.model.layers import PositionTable, Transformer, block
from univerce.model.sentence_network import SentenceNetwork


class UCE(SentenceNetwork):
    """Universal Cell Embedding network (Rosen et al. 2026).

    Parameters
    ----------
    config
        The architecture of the network.

    Examples
    --------
    >>> import torch
    >>> import univerce as uc
    >>> config = uc.model.UCEConfig(token_dim=8, d_model=8, n_heads=2, d_hidden=8, n_layers=1, output_dim=8)
    >>> network = uc.model.UCE(config).eval()
    >>> tokens = network.encode_tokens(torch.randn(5, 8))
    >>> network.embed(tokens[None]).shape
    torch.Size([1, 8])
    """

    def __init__(self, config: UCEConfig) -> None:
        super().__init__()
        self.config = config
        d, out, p = config.d_model, config.output_dim, config.dropout
        self.pos_encoder = PositionTable(config)
        self.encoder = nn.Sequential(nn.Linear(config.token_dim, d), nn.GELU(), nn.LayerNorm(d))
        self.transformer_encoder = Transformer(config)
        self.decoder = nn.Sequential(
            block(d, config.decoder_dim, p),
            block(config.decoder_dim, out, p),
            block(out, out, p),
            nn.Linear(out, out),
        )
        self.gene_embedding_layer = nn.Sequential(
            nn.Linear(config.token_dim, config.gene_dim), nn.GELU(), nn.LayerNorm(config.gene_dim)
        )
        dims = (out + config.gene_dim, *config.head_dims)
        self.binary_decoder = nn.Sequential(*(block(a, b, p) for a, b in pairwise(dims)), nn.Linear(dims[-1], 1))

    def _encode(self, features: Tensor) -> Tensor:
        return self.encoder(_unit(features)) * math.sqrt(self.config.d_model)

    def _read_cells(self, tokens: Tensor, lengths: Tensor | None, *, official: bool) -> Tensor:
        return self.decoder(self._transform(tokens, lengths, cls_only=True, official=official))

    def _head(self, gene_features: Tensor) -> tuple[nn.Module, Tensor]:
        return self.binary_decoder, self.gene_embedding_layer(_unit(gene_features))


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features, dim=-1, eps=1e-12)

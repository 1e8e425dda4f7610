"""The UCE network (Rosen et al. 2026), with the state-dict names of the released checkpoints.

Work without an effect on the result is left out, exactly: the token encoder depends on the token alone, so its output
is a table; only the CLS position is read, so the last layer has one query and the decoder one row.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from univerce.model.config import UCEConfig
from univerce.model.layers import PositionTable, Transformer, block, pad_bias


class UCE(nn.Module):
    """Universal Cell Embedding network (Rosen et al. 2026).

    Parameters
    ----------
    config
        The shape of the network.

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

    def encode_tokens(self, features: Tensor) -> Tensor:
        """Encode token features for the transformer, without positions.

        Parameters
        ----------
        features
            ``[n_tokens, token_dim]`` as in the gene table.

        Returns
        -------
        ``[n_tokens, d_model]``.
        """
        unit = F.normalize(features, dim=-1, eps=1e-12)
        return self.encoder(unit) * math.sqrt(self.config.d_model)

    def embed(self, tokens: Tensor, lengths: Tensor | None = None, *, official: bool = False) -> Tensor:
        """Embed sentences of encoded tokens.

        Parameters
        ----------
        tokens
            ``[cells, length, d_model]`` rows of :meth:`encode_tokens`.
        lengths
            ``[cells]`` number of tokens of each sentence; None if no sentence has pads.
        official
            Attend to pads with +1 on their logits, as the reference does, instead of masking them.

        Returns
        -------
        ``[cells, output_dim]`` float32, of unit length.
        """
        tokens = tokens + self.pos_encoder.pe[: tokens.shape[1], 0]
        bias = None if lengths is None else pad_bias(lengths, tokens.shape[1], official=official)
        return F.normalize(self.decoder(self.transformer_encoder(tokens, bias)), dim=-1)

    def read_tokens(self, tokens: Tensor) -> Tensor:
        """Compute the last layer at every position of sentences without pads.

        Parameters
        ----------
        tokens
            ``[cells, length, d_model]`` rows of :meth:`encode_tokens`.

        Returns
        -------
        ``[cells, length, d_model]``.
        """
        tokens = tokens + self.pos_encoder.pe[: tokens.shape[1], 0]
        read: Tensor = self.transformer_encoder(tokens, None, cls_only=False)
        return read

    def predict(self, cells: Tensor, gene_features: Tensor) -> Tensor:
        """Compute the logit that a gene is expressed in a cell.

        Parameters
        ----------
        cells
            ``[cells, output_dim]`` embeddings.
        gene_features
            ``[cells, queries, token_dim]`` or ``[queries, token_dim]`` features of the query genes.

        Returns
        -------
        ``[cells, queries]`` logits.
        """
        unit = F.normalize(gene_features, dim=-1, eps=1e-12)
        genes = self.gene_embedding_layer(unit)
        modules: list[Any] = [m for m in self.binary_decoder.modules() if not isinstance(m, nn.Sequential)]
        linear, *after = modules
        # The first layer reads [cell, gene]: the cell's half is shared by all its queries.
        of_cell, of_gene = linear.weight.split([cells.shape[-1], genes.shape[-1]], dim=1)
        pairs: Tensor = F.linear(cells, of_cell)[:, None] + F.linear(genes, of_gene, linear.bias)
        for module in after:
            pairs = module(pairs)
        return pairs[..., 0]

"""What the networks of both families do: embed sentences, read their tokens, predict expression."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OFFICIAL_PAD_BIAS = 1.0
"""The reference passes (1 - mask) as a float mask: torch adds it to the logits, so pads get +1 and are attended to."""


class SentenceNetwork(nn.Module, ABC):
    """A transformer that reads sentences; families differ in what is before and after it."""

    pos_encoder: Any
    transformer_encoder: Any

    def encode_tokens(self, features: Tensor) -> Tensor:
        """Encode token features for the transformer, without positions.

        Parameters
        ----------
        features
            ``[..., token_dim]`` as in the gene table.

        Returns
        -------
        ``[..., d_model]``.
        """
        return self._encode(features)

    def embed(self, tokens: Tensor, lengths: Tensor | None = None, *, official: bool = False) -> Tensor:
        """Embed sentences of encoded tokens.

        Parameters
        ----------
        tokens
            ``[cells, length, d_model]`` rows of :meth:`encode_tokens`.
        lengths
            ``[cells]`` number of tokens of each sentence; None if no sentence has pads.
        official
            Attend to pads with +1 on their logits, as the reference of :class:`univerce.model.UCE` does, instead of
            masking them. :class:`univerce.model.UCEBrain` always masks them, as its own code does.

        Returns
        -------
        ``[cells, output_dim]`` float32, of unit length.
        """
        return F.normalize(self._read_cells(tokens, lengths, official=official), dim=-1)

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
        return self._transform(tokens, None, cls_only=False)

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
        head, genes = self._head(gene_features)
        return pair_logits(head, cells, genes)

    @abstractmethod
    def _encode(self, features: Tensor) -> Tensor:
        """Encode token features as the transformer reads them."""

    @abstractmethod
    def _read_cells(self, tokens: Tensor, lengths: Tensor | None, *, official: bool) -> Tensor:
        """Read each cell from the transformer, ``[cells, output_dim]``."""

    @abstractmethod
    def _head(self, gene_features: Tensor) -> tuple[nn.Module, Tensor]:
        """The layers that read ``[cell, gene]``, and the genes as they read them."""

    def _transform(self, tokens: Tensor, lengths: Tensor | None, *, cls_only: bool, official: bool = False) -> Tensor:
        width = tokens.shape[1]
        positions = self.pos_encoder.pe.flatten(0, -2)[:width]
        bias = None if lengths is None else pad_bias(lengths, width, official=official)
        return self.transformer_encoder(tokens + positions, bias, cls_only=cls_only)


def pad_bias(lengths: Tensor, width: int, *, official: bool) -> Tensor:
    """Values to add to the logits of the keys, ``[cells, 1, 1, width]``: pads are masked, or attended to with +1."""
    is_pad = torch.arange(width, device=lengths.device) >= lengths[:, None]
    bias = torch.zeros(is_pad.shape, device=lengths.device)
    return bias.masked_fill(is_pad, OFFICIAL_PAD_BIAS if official else float("-inf"))[:, None, None]


def pair_logits(head: nn.Module, cells: Tensor, genes: Tensor) -> Tensor:
    """Apply an expression head to every pair of a cell and a gene, ``[cells, queries]``."""
    modules: list[Any] = [m for m in head.modules() if not isinstance(m, nn.Sequential)]
    if isinstance(modules[0], nn.Dropout):
        drop, *modules = modules
        cells, genes = drop(cells), drop(genes)
    linear, *after = modules
    # The cell's half of the first layer is shared by all its queries.
    of_cell, of_gene = linear.weight.split([cells.shape[-1], genes.shape[-1]], dim=1)
    pairs: Tensor = F.linear(cells, of_cell)[:, None] + F.linear(genes, of_gene, linear.bias)
    for module in after:
        pairs = module(pairs)
    return pairs[..., 0]

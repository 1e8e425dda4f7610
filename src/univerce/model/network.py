"""The UCE transformer, with the state-dict names of the released checkpoints.

What the reference computes and nobody reads is left out, exactly: the token encoder depends on the token alone, so its
output is a table; only the CLS position is read, so the last layer has one query and the decoder one row.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from univerce.model.bag import Bag
from univerce.model.config import UCEConfig

OFFICIAL_PAD_BIAS = 1.0
"""The reference passes (1 - mask) as a float mask: torch adds it to the logits, so pads get +1 and are attended to."""


def sinusoids(config: UCEConfig) -> Tensor:
    """Position table ``[max_length, 1, d_model]``, base 10,000; even columns are sines, odd ones cosines.

    It is always made on the CPU: on the meta device ``arange`` alone imports torch's compiler, which takes seconds.
    """
    position = torch.arange(config.max_length, dtype=torch.float32, device="cpu")[:, None]
    step = torch.arange(0, config.d_model, 2, dtype=torch.float32, device="cpu")
    rate = torch.exp(step * (-math.log(10000.0) / config.d_model))
    pe = torch.empty(config.max_length, 1, config.d_model, device="cpu")
    pe[:, 0, 0::2] = torch.sin(position * rate)
    pe[:, 0, 1::2] = torch.cos(position * rate)
    return pe


SENTENCE_SHARE = 0.25
"""Beside a bag, the sentence adds to the cell at most this share of the length of the bag."""


class PositionTable(nn.Module):
    """Holds the position table under its released name."""

    pe: Tensor

    def __init__(self, config: UCEConfig) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(config))


class SelfAttention(nn.Module):
    """Multi-head attention with fused input projection, computed by ``scaled_dot_product_attention``."""

    def __init__(self, config: UCEConfig) -> None:
        super().__init__()
        d = config.d_model
        self.n_heads = config.n_heads
        self.dropout = config.dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d, d))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d))
        self.out_proj = nn.Linear(d, d)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, bias: Tensor | None, *, cls_only: bool) -> Tensor:
        """Attend from every position, or from the first alone; ``bias`` is added to the logits of the keys."""
        if bias is not None:
            bias = bias.to(x.dtype)
        dropout = self.dropout if self.training else 0.0
        if cls_only:
            return self.out_proj(self._from_first(x, bias, dropout))
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def _from_first(self, x: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
        """Attend from the first position ``[cells, 1, d_model]`` without the keys and values of the others.

        ``q . (W x + b)`` is ``(q W) . x`` and a constant, which the softmax cancels, and the mean of ``V x`` is ``V``
        times the mean of ``x``: the heads become the queries of one attention to ``x`` itself.
        """
        weight, (q_bias, _, v_bias) = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q_weight, k_weight, v_weight = (w.unflatten(0, (self.n_heads, -1)) for w in weight)
        q = torch.einsum("cd,hed->che", x[:, 0], q_weight) + q_bias.unflatten(0, (self.n_heads, -1))
        q = torch.einsum("che,hed->chd", q, k_weight)[:, None]
        keys = x[:, None]
        mean = F.scaled_dot_product_attention(
            q, keys, keys, attn_mask=bias, dropout_p=dropout, scale=k_weight.shape[1] ** -0.5
        )
        return torch.einsum("chd,hed->che", mean[:, 0], v_weight).flatten(1)[:, None] + v_bias


class Layer(nn.Module):
    """One transformer layer; post-norm as released, or pre-norm."""

    def __init__(self, config: UCEConfig) -> None:
        super().__init__()
        self.norm_first = config.norm_first
        self.self_attn = SelfAttention(config)
        self.linear1 = nn.Linear(config.d_model, config.d_hidden)
        self.linear2 = nn.Linear(config.d_hidden, config.d_model)
        self.norm1 = nn.LayerNorm(config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor | None, *, cls_only: bool = False) -> Tensor:
        """Update every position, or return the first alone (its query is the only one computed).

        The residual stream and the norms stay in float32, the products run in the dtype of the weights.
        """
        dtype = self.linear1.weight.dtype
        residual = x[:, :1] if cls_only else x
        if self.norm_first:
            h = residual + self.drop(self.self_attn(self.norm1(x).to(dtype), bias, cls_only=cls_only))
            return h + self.drop(self._feed_forward(self.norm2(h).to(dtype)))
        h = self.norm1(residual + self.drop(self.self_attn(x.to(dtype), bias, cls_only=cls_only)))
        return self.norm2(h + self.drop(self._feed_forward(h.to(dtype))))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.drop(F.relu(self.linear1(x), inplace=True)))


class Transformer(nn.Module):
    """The stack of layers; of the last one only the first position is computed, unless all are asked for."""

    def __init__(self, config: UCEConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))

    def forward(self, x: Tensor, bias: Tensor | None, *, cls_only: bool = True) -> Tensor:
        """``[cells, length, d_model]`` to the CLS position ``[cells, d_model]``, or to all of them."""
        for layer in self.layers[:-1]:
            x = layer(x, bias)
        x = self.layers[-1](x, bias, cls_only=cls_only)
        return x[:, 0] if cls_only else x


def _block(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.GELU(), nn.Dropout(dropout))


def _join(read: Tensor | None, bag: Tensor | None) -> Tensor:
    """What the sentence and the bag say of a cell together.

    Beside a bag the sentence has its say within bounds: without them it grows until it drowns the bag, because what it
    knows best, the data set and the depth of the cell, helps the head most and tells cell types apart least.
    """
    if bag is None or read is None:
        if (one := bag if read is None else read) is None:
            raise ValueError("A cell needs a sentence, or a bag; embed() got neither.")
        return one
    bag = bag.float()
    bound = SENTENCE_SHARE * bag.norm(dim=-1, keepdim=True)
    return bag + bound * read / (1 + read.norm(dim=-1, keepdim=True))


def _bias(tokens: Tensor, lengths: Tensor | None, log_counts: Tensor | None, *, official: bool) -> Tensor | None:
    """``[cells, 1, 1, length]`` what is added to the logits of the keys, if anything."""
    if lengths is None and log_counts is None:
        return None
    bias = tokens.new_zeros(tokens.shape[:2], dtype=torch.float32) if log_counts is None else log_counts
    if lengths is not None:
        is_pad = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
        bias = bias.masked_fill(is_pad, OFFICIAL_PAD_BIAS if official else float("-inf"))
    return bias[:, None, None]


class UCE(nn.Module):
    """Universal Cell Embedding network (Rosen et al. 2024).

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
            _block(d, config.decoder_dim, p),
            _block(config.decoder_dim, out, p),
            _block(out, out, p),
            nn.Linear(out, out),
        )
        self.gene_embedding_layer = nn.Sequential(
            nn.Linear(config.token_dim, config.gene_dim), nn.GELU(), nn.LayerNorm(config.gene_dim)
        )
        dims = (out + config.gene_dim, *config.head_dims)
        self.binary_decoder = nn.Sequential(*(_block(a, b, p) for a, b in pairwise(dims)), nn.Linear(dims[-1], 1))
        if config.bag:
            self.bag = Bag(config)
            self.bilinear = nn.Linear(config.token_dim, out, bias=False)

    def encode_tokens(self, features: Tensor) -> Tensor:
        """Token features to what the transformer reads of a token before its position is known.

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

    def embed(
        self,
        tokens: Tensor | None,
        lengths: Tensor | None = None,
        *,
        official: bool = False,
        bag: Tensor | None = None,
        log_counts: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Embed sentences of encoded tokens.

        Parameters
        ----------
        tokens
            ``[cells, length, d_model]`` rows of :meth:`encode_tokens`; None leaves the transformer out, so that a model
            with a bag has nothing else.
        lengths
            ``[cells]`` number of tokens of each sentence; None when no sentence has pads.
        official
            Let pads be attended to with +1 on their logits, as the reference does, instead of masking them.
        bag
            ``[cells, token_dim]`` sum over a cell's genes of :func:`~univerce.model.bag.bag_weights` times
            :class:`~univerce.model.bag.Bag`; needed by models with one.
        log_counts
            ``[cells, length]`` added to the logit of a token wherever it is attended to: it then weighs like so many.
        positions
            ``[cells, length]`` of the tokens; between two whole ones their codes are mixed. None is 0, 1, 2, ...

        Returns
        -------
        ``[cells, output_dim]`` float32, of unit length.
        """
        if self.config.bag and bag is None:
            raise ValueError("This model has a bag of genes; embed() needs it.")
        read = None
        if tokens is not None:
            tokens = tokens + self._position_codes(tokens.shape[1], positions)  # the caller's may go
            read = self._read(tokens, _bias(tokens, lengths, log_counts, official=official))
        cell = _join(read, None if bag is None else self.bag.cell(bag))
        return F.normalize(cell, dim=-1)

    def _position_codes(self, length: int, positions: Tensor | None) -> Tensor:
        """``[length, d_model]`` or ``[cells, length, d_model]`` rows of the position table."""
        table = self.pos_encoder.pe[:, 0]
        if positions is None:
            return table[:length]
        below = positions.floor().clamp(max=len(table) - 1)
        above = (below + 1).clamp(max=len(table) - 1)
        return torch.lerp(table[below.long()], table[above.long()], (positions - below)[..., None])

    def _read(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        """The decoded CLS position, ``[cells, output_dim]``."""
        decoded: Tensor = self.decoder(self.transformer_encoder(tokens, bias))
        return decoded

    def read_tokens(self, tokens: Tensor) -> Tensor:
        """What the last layer makes of every position of sentences without pads.

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
        """Logit that a gene is expressed in a cell.

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
        # The first layer reads the cell and the gene side by side: the cell's half is the same for all its queries.
        of_cell, of_gene = linear.weight.split([cells.shape[-1], genes.shape[-1]], dim=1)
        pairs: Tensor = F.linear(cells, of_cell)[:, None] + F.linear(genes, of_gene, linear.bias)
        for module in after:
            pairs = module(pairs)
        logits = pairs[..., 0]
        if self.config.bag:
            of_cell = cells @ self.bilinear.weight  # [cells, token_dim]: few, where the queries are many
            logits = logits + torch.einsum("cd,cqd->cq" if unit.ndim == 3 else "cd,qd->cq", of_cell, unit)
        return logits

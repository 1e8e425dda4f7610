"""Layers of the networks: positions, attention and transformer layers, with the names of torch's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from univerce.model.brain_config import UCEBrainConfig
    from univerce.model.config import UCEConfig

    Config: TypeAlias = UCEConfig | UCEBrainConfig

relu: Callable[[Tensor], Tensor] = partial(F.relu, inplace=True)

_PACKED_FOR = 1024
"""Tokens of a sentence that weights are packed for; others are as correct."""


def sinusoids(config: Config) -> Tensor:
    """Position table ``[max_length, 1, d_model]``, base 10,000; even columns are sines, odd ones cosines.

    Always computed on the CPU: on the meta device ``arange`` imports torch's compiler, which takes seconds.
    """
    position = torch.arange(config.max_length, dtype=torch.float32, device="cpu")[:, None]
    step = torch.arange(0, config.d_model, 2, dtype=torch.float32, device="cpu")
    rate = torch.exp(step * (-math.log(10000.0) / config.d_model))
    pe = torch.empty(config.max_length, 1, config.d_model, device="cpu")
    pe[:, 0, 0::2] = torch.sin(position * rate)
    pe[:, 0, 1::2] = torch.cos(position * rate)
    return pe


class PositionTable(nn.Module):
    """The position table under its released name."""

    pe: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(config))


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear``, whose weights may be packed by :func:`pack`."""
    if not weight.is_mkldnn:
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return F.linear(x, weight.to_dense(), bias)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class Linear(nn.Linear):
    """A linear layer whose weights may be packed."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Apply the layer."""
        return linear(input, self.weight, self.bias)


class SelfAttention(nn.Module):
    """Multi-head attention with fused input projection, computed by ``scaled_dot_product_attention``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        d = config.d_model
        self.n_heads = config.n_heads
        self.dropout = config.dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * d, d))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * d))
        self.out_proj = Linear(d, d)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, bias: Tensor | None, *, cls_only: bool) -> Tensor:
        """Attend from every position, or from the first only; ``bias`` is added to the logits of the keys."""
        if bias is not None:
            bias = bias.to(x.dtype)
        dropout = self.dropout if self.training else 0.0
        if cls_only:
            return self.out_proj(self._from_first(x, bias, dropout))
        q, k, v = linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
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
    """One post-norm transformer layer."""

    def __init__(self, config: Config, activation: Callable[[Tensor], Tensor] = relu) -> None:
        super().__init__()
        self.activation = activation
        self.self_attn = SelfAttention(config)
        self.linear1 = Linear(config.d_model, config.d_hidden)
        self.linear2 = Linear(config.d_hidden, config.d_model)
        self.norm1 = nn.LayerNorm(config.d_model)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor | None, *, cls_only: bool = False) -> Tensor:
        """Update every position, or compute the first only.

        The residual stream and the norms stay in float32; products run in the dtype of the weights.
        """
        dtype = self.linear1.weight.dtype
        residual = x[:, :1] if cls_only else x
        h = self.norm1(residual + self.drop(self.self_attn(x.to(dtype), bias, cls_only=cls_only)))
        return self.norm2(h + self.drop(self._feed_forward(h.to(dtype))))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.drop(self.activation(self.linear1(x))))


class Transformer(nn.Module):
    """A stack of layers; the last one computes only the first position, unless all are requested."""

    def __init__(self, config: Config, activation: Callable[[Tensor], Tensor] = relu) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, activation) for _ in range(config.n_layers))

    def forward(self, x: Tensor, bias: Tensor | None, *, cls_only: bool = True) -> Tensor:
        """Map ``[cells, length, d_model]`` to the first position ``[cells, d_model]``, or to all positions."""
        for layer in self.layers[:-1]:
            x = layer(x, bias)
        x = self.layers[-1](x, bias, cls_only=cls_only)
        return x[:, 0] if cls_only else x


def pack(network: nn.Module) -> None:
    """Store bfloat16 weights in the layout of the CPU's matrix products, which else convert them every time.

    Packed weights cannot be saved. The last layer computes one position and is not packed.
    """
    on_cpu = next(network.parameters()).device.type == "cpu"
    with_avx512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    if not on_cpu or not with_avx512 or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    for layers in (m.layers[:-1] for m in network.modules() if isinstance(m, Transformer)):
        for module in (m for layer in layers for m in layer.modules()):
            for name, weight in module.named_parameters(recurse=False):
                if weight.ndim == 2 and weight.dtype == torch.bfloat16 and not weight.is_mkldnn:
                    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _PACKED_FOR)
                    setattr(module, name, nn.Parameter(packed, requires_grad=False))


def block(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    """Linear layer, norm, GELU and dropout."""
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.GELU(), nn.Dropout(dropout))

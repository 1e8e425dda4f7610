"""The UCE-brain network, with the state-dict names of its public checkpoints without the leading ``uce.``.

It differs from :class:`~univerce.model.network.UCE` in the norm of the token features, the projector (norm before the
GELU), GELU in the layers, the output (a linear layer and a norm), and pads, which are never attended to.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from univerce.model.brain_config import UCEBrainConfig
from univerce.model.layers import PositionTable, Transformer, relu
from univerce.model.sentence_network import SentenceNetwork


def own_name(name: str) -> str:
    """Name of a tensor of a checkpoint in the state dict of :class:`UCEBrain`."""
    return name.removeprefix("module.").removeprefix("uce.")


class UCEBrain(SentenceNetwork):
    """The network of the UCE-brain checkpoints.

    Parameters
    ----------
    config
        The architecture of the network.

    Examples
    --------
    >>> import torch
    >>> import univerce as uc
    >>> config = uc.model.UCEBrainConfig(token_dim=8, d_model=8, n_heads=2, d_hidden=8, n_layers=1, output_dim=6)
    >>> network = uc.model.UCEBrain(config).eval()
    >>> tokens = network.encode_tokens(torch.randn(5, 8))
    >>> network.embed(tokens[None]).shape
    torch.Size([1, 6])
    """

    def __init__(self, config: UCEBrainConfig) -> None:
        super().__init__()
        self.config = config
        d, out, p = config.d_model, config.output_dim, config.dropout
        norm = {"layer_norm": nn.LayerNorm(config.token_dim)} if config.token_norm else {}
        self.embedding_layer = nn.ModuleDict(norm)
        self.input_gene_embedding_projector = nn.Sequential(nn.Linear(config.token_dim, d), nn.LayerNorm(d), nn.GELU())
        self.pos_encoder = PositionTable(config) if config.positions == "sinusoidal" else LearnedPositions(config)
        self.transformer_encoder = Transformer(config, activation=F.gelu if config.activation == "gelu" else relu)
        self.output_embedding_projector = nn.Sequential(nn.Linear(d, out), nn.LayerNorm(out))
        parts: list[nn.Module] = [nn.Dropout(p)]
        width = out + d
        for dim in config.head_dims:
            parts += [nn.Linear(width, dim), nn.LayerNorm(dim), nn.GELU(), nn.Dropout(p)]
            width = dim
        self.expression_decoder = nn.ModuleDict({"decoder": nn.Sequential(*parts, nn.Linear(width, 1))})

    def _encode(self, features: Tensor) -> Tensor:
        for norm in self.embedding_layer.values():
            features = norm(features)
        return self.input_gene_embedding_projector(features)

    def _read_cells(self, tokens: Tensor, lengths: Tensor | None, *, official: bool) -> Tensor:
        if self.config.reduction == "cls":
            return self.output_embedding_projector(self._transform(tokens, lengths, cls_only=True))
        n_cells, length, _ = tokens.shape
        if lengths is None:
            lengths = torch.full((n_cells,), length, device=tokens.device)
        pad = self.encode_tokens(tokens.new_zeros(self.config.token_dim)).to(tokens.dtype)
        pads = pad.expand(n_cells, self.config.max_length - length, -1)
        outputs = self._transform(torch.cat([tokens, pads], dim=1), lengths, cls_only=False)
        return self.output_embedding_projector(outputs).mean(dim=1)

    def _head(self, gene_features: Tensor) -> tuple[nn.Module, Tensor]:
        return self.expression_decoder["decoder"], self.encode_tokens(gene_features)


class LearnedPositions(nn.Module):
    """A trained position table ``[n_positions, d_model]``."""

    def __init__(self, config: UCEBrainConfig) -> None:
        super().__init__()
        self.pe = nn.Parameter(torch.empty(config.n_positions, config.d_model))
        nn.init.normal_(self.pe)

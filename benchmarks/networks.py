"""Networks of the released sizes with generated weights, and their plain references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.helpers.reference import ReferenceBrain, ReferenceUCE, generated_state
from univerce.model.checkpoint import _low_precision_names
from univerce.model.families import build_network
from univerce.model.layers import sinusoids


def network(config: Any, precision: str) -> Any:
    """Its layers share their weights, which changes neither the work nor what the caches hold of it."""
    made = _two_layers(config)
    low = _low_precision_names(made) if precision == "bfloat16" else set()
    for name, parameter in made.named_parameters():
        if name in low:
            parameter.data = parameter.data.bfloat16()
    return _repeated(made, config.n_layers)


def reference(config: Any, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """The same weights as the makers of a network run it, in float32: features of cells without pads to embeddings."""
    kind = ReferenceUCE if config.family == "uce" else ReferenceBrain
    plain = kind(replace(config, n_layers=2)).eval().requires_grad_(requires_grad=False)
    missing, _ = plain.load_state_dict(_two_layers(config).state_dict(), strict=False)
    assert not missing
    plain = _repeated(plain, config.n_layers).to(device)
    positions = sinusoids(config)[:, 0].to(device)

    def run(features: Tensor) -> Tensor:
        n_cells, length, _ = features.shape
        no_pads = torch.zeros(n_cells, length, dtype=torch.bool, device=device)
        if kind is ReferenceUCE:
            return plain(features.transpose(0, 1), 1 - no_pads.float())
        return plain(features, no_pads, positions[:length])

    return run


def _two_layers(config: Any) -> Any:
    made = build_network(replace(config, n_layers=2)).eval().requires_grad_(requires_grad=False)
    state = generated_state(made, seed=0)
    for name, weight in state.items():
        if weight.ndim > 1:
            weight *= weight.shape[1] ** -0.5 / weight.std()  # else cells of narrow networks are all the same
        if name.endswith("in_proj_weight"):
            weight *= 0.3  # else each position attends to one other, and rounding decides to which
    made.load_state_dict(state, strict=False)
    return made


def _repeated(made: Any, n_layers: int) -> Any:
    first, last = made.transformer_encoder.layers
    made.transformer_encoder.layers = nn.ModuleList([*[first] * (n_layers - 1), last])
    return made

"""Convert released checkpoints to model directories."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from univerce.genes.release.unpickle import load_torch
from univerce.model.checkpoint import check_names, save_weights, weight_shapes
from univerce.model.config import RELEASED, UCEConfig
from univerce.model.directory import Model, write_model
from univerce.model.layers import sinusoids

_NOT_WEIGHTS = {"pe_embedding.weight", "pos_encoder.pe"}  # the token table, and a table that follows from the config


def convert_checkpoint(source: Path | str, out_dir: Path | str, *, config: UCEConfig | None = None) -> Model:
    """Convert a released checkpoint to a model directory; only tensors are unpickled.

    Parameters
    ----------
    source
        A state dict saved by torch, such as ``4layer_model.torch``. Its token table (``pe_embedding.weight``) is not
        copied; gene tables hold the same features.
    out_dir
        The directory to write.
    config
        The architecture; by default that of the released model with as many layers.

    Returns
    -------
    The model written.

    Raises
    ------
    ValueError
        If the file is not a state dict of such a network (missing or unknown names, other shapes, values that are not
        finite, another position table), if it asks to run code, or if ``out_dir`` holds a model.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> import univerce as uc
    >>> config = uc.model.UCEConfig(token_dim=8, d_model=8, n_heads=2, d_hidden=8, n_layers=1, output_dim=8)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     checkpoint = Path(directory) / "checkpoint.torch"
    ...     torch.save(uc.model.UCE(config).state_dict(), checkpoint)
    ...     uc.model.convert_checkpoint(checkpoint, Path(directory) / "model", config=config).config.n_layers
    1
    """
    source = Path(source)
    state: dict[str, Tensor] = load_torch(source)
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{source} is not a state dict (a mapping from names to tensors).")
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if config is None:
        n_layers = len({name.split(".")[2] for name in state if name.startswith("transformer_encoder.layers.")})
        known = {c.n_layers: c for c in RELEASED.values()}
        if n_layers not in known:
            raise ValueError(f"{source} has {n_layers} layers; the released models have 4 and 33. Pass config=.")
        config = known[n_layers]
    positions, expected = state.get("pos_encoder.pe"), sinusoids(config)
    if positions is not None and not (
        positions.shape == expected.shape and torch.allclose(positions.float(), expected, atol=1e-5)
    ):
        raise ValueError(f"{source}: pos_encoder.pe is not the sinusoidal table of this configuration.")
    state = {name: tensor for name, tensor in state.items() if name not in _NOT_WEIGHTS}
    _check_state(state, config, source)
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    return write_model(config, Path(out_dir), lambda path: save_weights(state, path), {"source": source.name})


def _check_state(state: Mapping[str, Tensor], config: UCEConfig, source: Path) -> None:
    expected = weight_shapes(config)
    check_names(state, expected, source)
    for name, shape in expected.items():
        if state[name].shape != shape:
            raise ValueError(f"{source}: {name} has the shape {tuple(state[name].shape)}, expected {tuple(shape)}.")
        if not torch.isfinite(state[name]).all():
            raise ValueError(f"{source}: {name} holds values that are not finite.")

"""The architecture of the second family of public networks, UCE-brain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from univerce.model.config import SAMPLINGS, SentenceConfig


@dataclass(frozen=True)
class UCEBrainConfig(SentenceConfig):
    """Architecture and sampling of a UCE-brain network. Together with the weights they define an embedding space.

    The defaults are those of the public checkpoints of 8 layers. Numbers of tokens are not part of it: the gene tables
    of a model hold the rows of its special tokens and chromosomes, and ``token_encoder`` names their vocabulary.

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.UCEBrainConfig().d_model
    512
    """

    family: ClassVar[str] = "uce-brain"  # see univerce.model.families
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sampling": SAMPLINGS, "activation": ("gelu", "relu"), "positions": ("sinusoidal", "learned"),
        "reduction": ("cls", "mean"),
    }  # fmt: skip
    model_id: str = "uce-brain"
    """Name of the model; the digest does not depend on it."""
    token_dim: int = 5120
    """Width of the gene features."""
    token_encoder: str = "uce-brain"
    """Token table of the checkpoint and numbers of its special tokens; gene tables of other ones raise an error."""
    d_model: int = 512
    """Width of the transformer."""
    n_heads: int = 4
    """Attention heads; divides ``d_model``."""
    d_hidden: int = 2048
    """Width of the feed-forward layers."""
    n_layers: int = 8
    """Transformer layers."""
    output_dim: int = 512
    """Width of the cell embedding."""
    head_dims: tuple[int, ...] = (512, 512)
    """Widths of the expression head."""
    activation: str = "gelu"
    """``"gelu"`` or ``"relu"``, of the transformer layers."""
    token_norm: bool = True
    """LayerNorm on the features of a token."""
    positions: str = "sinusoidal"
    """``"sinusoidal"`` or ``"learned"``."""
    n_positions: int = 10_000
    """Rows of a learned position table."""
    reduction: str = "cls"
    """``"cls"`` reads the cell at the CLS token, ``"mean"`` averages over ``max_length`` positions, pads included."""
    dropout: float = 0.1
    """Dropout while training."""
    max_length: int = 2048
    """The longest sentence."""
    n_sample: int = 1024
    """Draws of a sentence."""
    sampling: str = "multinomial"
    """Default sampling of sentences."""

    def __post_init__(self) -> None:
        """Validate the fields."""
        super().__post_init__()
        if self.positions == "learned" and self.n_positions < self.max_length:
            raise ValueError(
                f"n_positions={self.n_positions} are too few for sentences of max_length={self.max_length} tokens."
            )

"""The architecture of a UCE network and how its sentences are sampled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args

Sampling = Literal["multinomial", "systematic"]
SAMPLINGS: tuple[str, ...] = get_args(Sampling)


_MAX_LAYERS, _MAX_SIZE = 1_000, 2**17  # of the other whole numbers
_MAX_HEAD, _MAX_POSITIONS = 16, 2**28  # layers of a head, values of a position table


@dataclass(frozen=True)
class Config:
    """What the configurations of all families share; they are written to ``config.json``."""

    def __post_init__(self) -> None:
        """Check type and size of each field: a file must not decide how much memory is taken."""
        for field in fields(self):
            value, kind = getattr(self, field.name), str(field.type)
            if kind == "int":
                _check_size(field.name, value)
            elif kind == "float":
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                    raise ValueError(f"{field.name}={value!r} must be a finite number of at least 0.")
            elif kind.startswith("tuple"):
                if not isinstance(value, list | tuple) or len(value) > _MAX_HEAD:
                    raise ValueError(f"{field.name}={value!r} must be a list of at most {_MAX_HEAD} widths.")
                for width in value:
                    _check_size(field.name, width)
                object.__setattr__(self, field.name, tuple(value))
            elif type(value).__name__ != kind:
                raise ValueError(f"{field.name}={value!r} must be of the type {kind}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in types that JSON can hold.

        Returns
        -------
        Field name to value.
        """
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Create a configuration from the result of :meth:`to_dict`.

        Parameters
        ----------
        values
            Field name to value; missing fields have their defaults.

        Returns
        -------
        The configuration.

        Raises
        ------
        ValueError
            If an entry is unknown, of another type or out of bounds.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise ValueError(f"The model configuration has unknown entries: {', '.join(sorted(unknown))}.")
        return cls(**values)


def _check_size(name: str, value: Any) -> None:
    largest = _MAX_LAYERS if name == "n_layers" else _MAX_SIZE
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= largest:
        raise ValueError(f"{name}={value!r} must be a whole number from 1 to {largest:,}.")


class SentenceConfig(Config):
    """What the configurations of transformers over sentences share."""

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"sampling": SAMPLINGS}
    d_model: int
    n_heads: int
    n_layers: int
    output_dim: int
    max_length: int
    n_sample: int
    sampling: str

    def __post_init__(self) -> None:
        """Validate the fields."""
        super().__post_init__()
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model={self.d_model} must be a multiple of n_heads={self.n_heads}.")
        if self.d_model * self.max_length > _MAX_POSITIONS:
            raise ValueError(f"max_length={self.max_length} positions of d_model={self.d_model} values are too many.")
        for name, choices in self.choices.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name}={value!r} is not known; use one of {', '.join(choices)}.")

    def __str__(self) -> str:
        return (
            f"{self.n_layers} layers of width {self.d_model}, {self.n_sample:,} {self.sampling} draws, "
            f"{self.output_dim:,} dimensions"
        )


@dataclass(frozen=True)
class UCEConfig(SentenceConfig):
    """Architecture and sampling. Together with the weights they define an embedding space.

    The defaults are those of the released models (Rosen et al. 2026), which differ only in ``n_layers`` (4 and 33).

    Examples
    --------
    >>> import univerce as uc
    >>> uc.model.UCEConfig(n_layers=33).d_model
    1280
    """

    family: ClassVar[str] = "uce"  # see univerce.model.families
    model_id: str = "uce"
    """Name of the model; the digest does not depend on it."""
    token_dim: int = 5120
    """Width of the gene features."""
    token_encoder: str = "esm2_t48_15B_UR50D"
    """Encoder of the gene tables that the weights were trained with; other tables raise an error."""
    d_model: int = 1280
    """Width of the transformer."""
    n_heads: int = 20
    """Attention heads; divides ``d_model``."""
    d_hidden: int = 5120
    """Width of the feed-forward layers."""
    n_layers: int = 4
    """Transformer layers."""
    output_dim: int = 1280
    """Width of the cell embedding."""
    decoder_dim: int = 1024
    """First width of the decoder of the CLS position."""
    gene_dim: int = 1280
    """Width of a query gene in the expression head."""
    head_dims: tuple[int, ...] = (2048, 512, 128)
    """Widths of the expression head."""
    dropout: float = 0.05
    """Dropout while training."""
    max_length: int = 1536
    """Rows of the position table: the longest sentence."""
    n_sample: int = 1024
    """Draws of a sentence."""
    sampling: str = "multinomial"
    """Default sampling of sentences."""

    def __post_init__(self) -> None:
        """Validate the fields."""
        super().__post_init__()
        if self.d_model % 2:
            raise ValueError(f"d_model={self.d_model} must be even for the sinusoidal positions.")


UCE_4L = UCEConfig(model_id="uce-4l", n_layers=4)
UCE_33L = UCEConfig(model_id="uce-33l", n_layers=33)
RELEASED = {config.model_id: config for config in (UCE_4L, UCE_33L)}
UCE_TINY = UCEConfig(
    model_id="uce-tiny", token_dim=1088, token_encoder="text-svd64-sign1024-s0-33c4cb27", d_model=128, n_heads=4,
    d_hidden=512, n_layers=2, output_dim=128, decoder_dim=128, gene_dim=128, head_dims=(256, 128), dropout=0.0,
    n_sample=128, sampling="systematic",
)  # fmt: skip

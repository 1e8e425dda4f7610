"""The encoder protocol, and encoders by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from univerce.genes.encoders.esm2 import ESM2, SIZES
from univerce.genes.encoders.precomputed import SUFFIXES, Precomputed
from univerce.genes.fasta import Protein


class Encoder(Protocol):
    """Computes features of proteins; encoders of the same name compute the same features."""

    @property
    def reads(self) -> str:
        """``"sequences"``, or ``"names"`` if it needs no sequences."""

    @property
    def name(self) -> str:
        """Name in gene tables, which a model compares with its own encoder."""

    @property
    def dim(self) -> int:
        """Width of the features."""

    def encode(self, proteins: Sequence[Protein]) -> np.ndarray:
        """Compute features ``[n_proteins, dim]``; rows of NaN for unknown proteins."""


def find_encoder(encoder: Any) -> Encoder:
    """Get an encoder by name, path or object; ``ValueError`` lists the known ones."""
    if not isinstance(encoder, str | Path):
        if callable(getattr(encoder, "encode", None)):
            return encoder
        raise TypeError(f"encoder is a {type(encoder).__name__}; it needs reads, name, dim and encode(proteins).")
    text, path = str(encoder), Path(encoder)
    if text.removeprefix("facebook/") in SIZES or (path / "config.json").is_file():
        return ESM2(text)
    if path.is_dir() or (path.suffix in SUFFIXES and path.is_file()):
        return Precomputed(path)
    if text.startswith(("text", "uce-mini")):
        raise ValueError(
            f"encoder={text!r} reads symbols and descriptions and was fitted to the genes of ten species; the fit "
            "(64 MB) is not bundled, so genes of another species cannot be encoded with it. Fit a "
            "univerce.genes.TextEncoder to the same annotations and pass it as encoder=, or use a protein encoder and "
            "a model that was trained with it."
        )
    raise ValueError(
        f"encoder={text!r} is not known; use one of {', '.join(SIZES)}, the directory of an ESM2 checkpoint, a file or "
        f"directory of vectors ({', '.join(SUFFIXES)}), or an encoder."
    )

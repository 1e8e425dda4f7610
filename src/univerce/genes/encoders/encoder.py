"""What an encoder is, and encoders by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from univerce.genes.encoders.esm2 import ESM2, SIZES
from univerce.genes.encoders.kmer import KmerEncoder
from univerce.genes.encoders.precomputed import SUFFIXES, Precomputed
from univerce.genes.encoders.text import TextEncoder
from univerce.genes.encoders.text_proteins import TextProteins
from univerce.genes.fasta import Protein


class Encoder(Protocol):
    """Makes features of proteins; two encoders of one name make the same of them."""

    reads: str
    """``"sequences"``, or ``"names"`` when it needs no sequences."""

    @property
    def name(self) -> str:
        """What the gene table records, and a model compares with what it was trained with."""

    @property
    def dim(self) -> int:
        """Width of the features."""

    def encode(self, proteins: Sequence[Protein]) -> np.ndarray:
        """``[n_proteins, dim]`` float32; rows of NaN where nothing is known of a protein."""


def find_encoder(encoder: Any, *, device: str = "auto", precision: str = "auto") -> Encoder:
    """The encoder meant by a name, a path or an object.

    Raises
    ------
    ValueError
        When nothing is called that; the message lists what is there.
    """
    if isinstance(encoder, TextEncoder):
        return TextProteins(encoder)
    if not isinstance(encoder, str | Path):
        if callable(getattr(encoder, "encode", None)):
            return encoder
        raise TypeError(f"encoder is a {type(encoder).__name__}, which has no reads, name, dim and encode(proteins).")
    text, path = str(encoder), Path(encoder)
    if text == "kmer":
        return KmerEncoder()
    if text.removeprefix("facebook/") in SIZES or (path / "config.json").is_file():
        return ESM2(text, device=device, precision=precision)
    if path.name.endswith(".kmer.npz") and path.is_file():
        return KmerEncoder.load(path)
    if path.is_dir() or (path.suffix in SUFFIXES and path.is_file()):
        return Precomputed(path)
    if text.startswith(("text", "uce-mini")):
        raise ValueError(
            f"encoder={text!r} reads symbols and descriptions and was fitted to the genes of ten species; what it "
            "learned (64 MB) is not part of the package, so the genes of another species cannot be encoded as its "
            "were. Fit a univerce.genes.TextEncoder to the same annotations and pass it as encoder=, or use a protein "
            "encoder together with a model that was trained with it."
        )
    raise ValueError(
        f"encoder={text!r} is not known; use 'kmer', one of {', '.join(SIZES)}, the directory of an ESM2 checkpoint, a "
        f"file or directory of vectors ({', '.join(SUFFIXES)}), or an encoder."
    )

"""Features from what is written about a gene, for build_species."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from univerce.genes.encoders.text import TextEncoder
from univerce.genes.fasta import Protein


class TextProteins:
    """A fitted :class:`univerce.genes.TextEncoder` that is asked for proteins."""

    reads = "names"

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder

    @property
    def name(self) -> str:
        """Name of the text encoder, which tells what it was fitted to."""
        return self.encoder.name

    @property
    def dim(self) -> int:
        """Width of the features."""
        return self.encoder.dim

    def encode(self, proteins: Sequence[Protein]) -> np.ndarray:
        """``[n_proteins, dim]`` float32 of whole numbers, equal for the proteins of a gene."""
        genes = pd.DataFrame(
            {
                "symbol": [p.symbol for p in proteins],
                "description": [p.description for p in proteins],
                "ensembl_id": [p.gene for p in proteins],
            }
        )
        return self.encoder.encode(genes).astype(np.float32)

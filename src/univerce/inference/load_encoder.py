"""The one place that decides whether a model reads sentences or counts."""

from __future__ import annotations

from collections.abc import Sequence

import anndata as ad

from univerce.inference.encoder import Encoder
from univerce.inference.linear import LinearEncoder
from univerce.model.directory import Model


def load_encoder(
    model: Model, tables: Sequence[ad.AnnData], *, official: bool = False, precision: str = "float32"
) -> Encoder:
    """Load a model for gene tables, one per species; ``official`` and ``precision`` are for sentences."""
    if model.reads_sentences:
        from univerce.inference.sentence_encoder import SentenceEncoder  # imports torch

        return SentenceEncoder(model, tables, official=official, precision=precision)
    return LinearEncoder(model, tables)

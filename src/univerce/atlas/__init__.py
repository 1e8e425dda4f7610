"""Atlases: labeled embeddings of many data sets, on disk."""

from univerce.atlas.append import append
from univerce.atlas.build import build
from univerce.atlas.open import open  # noqa: A004
from univerce.atlas.read_precomputed import read_precomputed
from univerce.atlas.subset import subset

__all__ = ["append", "build", "open", "read_precomputed", "subset"]

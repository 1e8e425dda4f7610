"""Tools: from counts to universal embeddings."""

from univerce.tl.uce_embed import uce_embed

__all__ = ["uce_embed"]

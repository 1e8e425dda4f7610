"""Tools: from counts to universal embeddings."""

from univerce.tl.check_same_space import check_same_space
from univerce.tl.uce_embed import uce_embed

__all__ = ["check_same_space", "uce_embed"]

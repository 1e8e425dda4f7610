"""Tools: from counts to universal embeddings, and from embeddings to genes."""

from univerce.tl.check_same_space import check_same_space
from univerce.tl.predict_expression import predict_expression
from univerce.tl.uce_embed import uce_embed

__all__ = ["check_same_space", "predict_expression", "uce_embed"]

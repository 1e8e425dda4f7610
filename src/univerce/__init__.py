"""Universal cell embeddings for the scverse."""

__version__ = "0.1.0"

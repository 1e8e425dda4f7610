"""From counts to embeddings: sentences, the network over them, and where the result is kept."""

"""Embeddings as they lie in ``obsm``: their space, cells, groups, neighbors and classifiers."""

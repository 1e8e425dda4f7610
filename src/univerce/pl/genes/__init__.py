"""Genes as the model sees them."""

"""Genes as a model reads them."""

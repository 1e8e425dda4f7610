"""Preprocessing: from raw counts and gene names to cell sentences."""

from univerce.pp.map_genes import map_genes

__all__ = ["map_genes"]

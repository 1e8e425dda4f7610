"""Preprocessing: from raw counts and gene names to cell sentences."""

from univerce.pp.center import center
from univerce.pp.map_genes import map_genes
from univerce.pp.shuffle_counts import shuffle_counts
from univerce.pp.training_set import training_set
from univerce.pp.uce_tokenize import uce_tokenize

__all__ = ["center", "map_genes", "shuffle_counts", "training_set", "uce_tokenize"]

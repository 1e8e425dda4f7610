"""Plots of what the tools wrote: they draw, and compute nothing that a table does not hold."""

from univerce.pl.benchmark_confusion import benchmark_confusion
from univerce.pl.benchmark_silhouettes import benchmark_silhouettes
from univerce.pl.benchmark_table import benchmark_table
from univerce.pl.centroid_alignment import centroid_alignment
from univerce.pl.dendrogram import dendrogram
from univerce.pl.embedding_grid import embedding_grid
from univerce.pl.find_cells import find_cells
from univerce.pl.label_transfer import label_transfer
from univerce.pl.marker_fold_changes import marker_fold_changes
from univerce.pl.ontology_distance import ontology_distance
from univerce.pl.transfer_table import transfer_table

__all__ = [
    "benchmark_confusion",
    "benchmark_silhouettes",
    "benchmark_table",
    "centroid_alignment",
    "dendrogram",
    "embedding_grid",
    "find_cells",
    "label_transfer",
    "marker_fold_changes",
    "ontology_distance",
    "transfer_table",
]

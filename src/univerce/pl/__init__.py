"""Plots of what the tools wrote: they draw, and compute nothing that a table does not hold."""

from univerce.pl.benchmark_confusion import benchmark_confusion
from univerce.pl.benchmark_silhouettes import benchmark_silhouettes
from univerce.pl.benchmark_table import benchmark_table
from univerce.pl.centroid_alignment import centroid_alignment
from univerce.pl.compare_groups import compare_groups
from univerce.pl.delete_genes import delete_genes
from univerce.pl.dendrogram import dendrogram
from univerce.pl.embedding_grid import embedding_grid
from univerce.pl.evaluate_find_cells import evaluate_find_cells
from univerce.pl.find_cells import find_cells
from univerce.pl.gene_attribution import gene_attribution
from univerce.pl.label_transfer import label_transfer
from univerce.pl.lineage_colocalisation import lineage_colocalisation
from univerce.pl.marker_fold_changes import marker_fold_changes
from univerce.pl.ontology_distance import ontology_distance
from univerce.pl.ood_score import ood_score
from univerce.pl.silhouette_by_type import silhouette_by_type
from univerce.pl.tissue_homogeneity import tissue_homogeneity
from univerce.pl.transfer_table import transfer_table

__all__ = [
    "benchmark_confusion",
    "benchmark_silhouettes",
    "benchmark_table",
    "centroid_alignment",
    "compare_groups",
    "delete_genes",
    "dendrogram",
    "embedding_grid",
    "evaluate_find_cells",
    "find_cells",
    "gene_attribution",
    "label_transfer",
    "lineage_colocalisation",
    "marker_fold_changes",
    "ontology_distance",
    "ood_score",
    "silhouette_by_type",
    "tissue_homogeneity",
    "transfer_table",
]

"""Plots of the results in ``uns``. They show values of the tables and compute no others."""

from univerce.pl.alignment.centroid_alignment import centroid_alignment
from univerce.pl.alignment.silhouette_by_type import silhouette_by_type
from univerce.pl.alignment.tissue_homogeneity import tissue_homogeneity
from univerce.pl.bench.benchmark_confusion import benchmark_confusion
from univerce.pl.bench.benchmark_silhouettes import benchmark_silhouettes
from univerce.pl.bench.benchmark_table import benchmark_table
from univerce.pl.bench.transfer_table import transfer_table
from univerce.pl.discovery.compare_groups import compare_groups
from univerce.pl.discovery.evaluate_find_cells import evaluate_find_cells
from univerce.pl.discovery.evaluate_ood_score import evaluate_ood_score
from univerce.pl.discovery.find_cells import find_cells
from univerce.pl.discovery.marker_fold_changes import marker_fold_changes
from univerce.pl.discovery.ood_score import ood_score
from univerce.pl.embedding_grid import embedding_grid
from univerce.pl.genes.delete_genes import delete_genes
from univerce.pl.genes.gene_attribution import gene_attribution
from univerce.pl.labels.label_transfer import label_transfer
from univerce.pl.ontology.dendrogram import dendrogram
from univerce.pl.ontology.lineage_colocalization import lineage_colocalization
from univerce.pl.ontology.ontology_distance import ontology_distance

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
    "evaluate_ood_score",
    "find_cells",
    "gene_attribution",
    "label_transfer",
    "lineage_colocalization",
    "marker_fold_changes",
    "ontology_distance",
    "ood_score",
    "silhouette_by_type",
    "tissue_homogeneity",
    "transfer_table",
]


def __dir__() -> list[str]:
    return __all__

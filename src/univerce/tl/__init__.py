"""Tools: from counts to universal embeddings, and from embeddings to labels, alignments, atlases and genes."""

from univerce.tl.alignment.centroid_alignment import centroid_alignment
from univerce.tl.alignment.centroids import centroids
from univerce.tl.alignment.silhouette_by_type import silhouette_by_type
from univerce.tl.alignment.tissue_homogeneity import tissue_homogeneity
from univerce.tl.check_same_space import check_same_space
from univerce.tl.discovery.compare_groups import compare_groups
from univerce.tl.discovery.evaluate_find_cells import evaluate_find_cells
from univerce.tl.discovery.evaluate_ood_score import evaluate_ood_score
from univerce.tl.discovery.find_cells import find_cells
from univerce.tl.discovery.marker_fold_changes import marker_fold_changes
from univerce.tl.discovery.ood_score import ood_score
from univerce.tl.genes.delete_genes import delete_genes
from univerce.tl.genes.gene_attribution import gene_attribution
from univerce.tl.genes.gene_network import gene_network
from univerce.tl.genes.predict_expression import predict_expression
from univerce.tl.labels.label_classifier import LabelClassifier
from univerce.tl.labels.label_clusters import label_clusters
from univerce.tl.labels.transfer_labels import transfer_labels
from univerce.tl.ontology.dendrogram import dendrogram
from univerce.tl.ontology.lineage_colocalization import lineage_colocalization
from univerce.tl.ontology.map_terms import map_terms
from univerce.tl.ontology.ontology_distance import ontology_distance
from univerce.tl.reconstruction_loss import reconstruction_loss
from univerce.tl.search_atlas import search_atlas
from univerce.tl.uce_embed import uce_embed

__all__ = [
    "LabelClassifier",
    "centroid_alignment",
    "centroids",
    "check_same_space",
    "compare_groups",
    "delete_genes",
    "dendrogram",
    "evaluate_find_cells",
    "evaluate_ood_score",
    "find_cells",
    "gene_attribution",
    "gene_network",
    "label_clusters",
    "lineage_colocalization",
    "map_terms",
    "marker_fold_changes",
    "ontology_distance",
    "ood_score",
    "predict_expression",
    "reconstruction_loss",
    "search_atlas",
    "silhouette_by_type",
    "tissue_homogeneity",
    "transfer_labels",
    "uce_embed",
]


def __dir__() -> list[str]:
    return __all__

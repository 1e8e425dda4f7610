"""Tools: from counts to universal embeddings, and from embeddings to labels, alignments, atlases and genes."""

from univerce.tl.centroid_alignment import centroid_alignment
from univerce.tl.centroids import centroids
from univerce.tl.check_same_space import check_same_space
from univerce.tl.compare_groups import compare_groups
from univerce.tl.delete_genes import delete_genes
from univerce.tl.dendrogram import dendrogram
from univerce.tl.evaluate_find_cells import evaluate_find_cells
from univerce.tl.find_cells import find_cells
from univerce.tl.gene_attribution import gene_attribution
from univerce.tl.gene_network import gene_network
from univerce.tl.label_classifier import LabelClassifier
from univerce.tl.lineage_colocalisation import lineage_colocalisation
from univerce.tl.marker_fold_changes import marker_fold_changes
from univerce.tl.ontology_distance import ontology_distance
from univerce.tl.ood_score import ood_score
from univerce.tl.predict_expression import predict_expression
from univerce.tl.read_ontology import read_ontology
from univerce.tl.search_atlas import search_atlas
from univerce.tl.silhouette_by_type import silhouette_by_type
from univerce.tl.tissue_homogeneity import tissue_homogeneity
from univerce.tl.transfer_labels import transfer_labels
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
    "find_cells",
    "gene_attribution",
    "gene_network",
    "lineage_colocalisation",
    "marker_fold_changes",
    "ontology_distance",
    "ood_score",
    "predict_expression",
    "read_ontology",
    "search_atlas",
    "silhouette_by_type",
    "tissue_homogeneity",
    "transfer_labels",
    "uce_embed",
]

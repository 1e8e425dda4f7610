"""A tree of cell types by their centroids, and how it agrees with an ontology."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import get_embedding, known_cells
from univerce.embeddings.groups import embedding_means, get_groups
from univerce.embeddings.ranks import METRICS, directions
from univerce.tl.ontology._partitions import adjusted_rand, cut_linkage
from univerce.tl.ontology.graph import as_ontology
from univerce.tl.ontology.terms import cell_terms, depth_cuts, group_terms, tree_paths

if TYPE_CHECKING:
    import os

    import networkx as nx
    from mudata import MuData

LINKAGES = ("single", "complete", "average", "weighted", "ward", "centroid", "median")


def dendrogram(
    adata: ad.AnnData | MuData,
    groupby: str = "cell_type",
    *,
    mod: str | None = None,
    use_rep: str = X_UCE,
    linkage_method: str = "average",
    metric: str = "euclidean",
    min_cells: int = 1,
    ontology: str | os.PathLike[str] | nx.DiGraph | None = None,
    ontology_ids: str | Mapping[str, str] | None = None,
    n_permutations: int = 1000,
    rng: int | np.random.Generator = 0,
    key_added: str | None = None,
) -> pd.DataFrame | None:
    """Cluster cell types by the distances of their centroids, and compare the tree with an ontology.

    The centroids are clustered hierarchically with :func:`scipy.cluster.hierarchy.linkage` (Rosen et al. 2024 use the
    Euclidean distance). The result has the form of :func:`scanpy.tl.dendrogram`, so scanpy's figures draw it.

    With an ontology, its terms are cut at every depth: types belong together when the way down to them leads through
    the same term. Of a term that is of several kinds, the longest way counts. The tree of the embedding is cut into as
    many clusters, and the adjusted Rand index tells how well both agree: 1 is the same division, 0 what chance gives.
    Types without a term are left out of the comparison.

    Parameters
    ----------
    adata
        Cells, or centroids of :func:`univerce.tl.centroids`; results are written into ``uns``.
    groupby
        Column of ``obs`` with the types.
    mod
        Modality, when ``adata`` is a MuData.
    use_rep
        Key of the embedding in ``obsm``.
    linkage_method
        ``"single"``, ``"complete"``, ``"average"``, ``"weighted"``, or with the Euclidean distance also ``"ward"``,
        ``"centroid"`` and ``"median"``.
    metric
        ``"euclidean"``, or ``"cosine"``, under which a cell of zeros has no direction and counts as one without an
        embedding.
    min_cells
        Smaller groups are left out, with a note in the log.
    ontology
        Path of an OBO file, or what :func:`univerce.tl.read_ontology` gives.
    ontology_ids
        Column of ``obs`` with the term of each cell, one for all cells of a type; or a mapping from types to terms.
        Terms are ids, names or exact synonyms.
    n_permutations
        Shuffles of the types, which tell what chance gives.
    rng
        Seed, or generator, of the shuffles.
    key_added
        Key in ``uns``; ``None`` is ``f"dendrogram_{groupby}"``, where scanpy looks for it.

    Returns
    -------
    With an ontology, a row for each ``depth`` at which it divides the types in a new way: ``n_clusters``, ``ari``, of
    shuffled types the mean ``chance`` and its 95 % interval ``chance_low`` to ``chance_high``, and the one-sided
    ``p_value``, which is (1 + shuffles at least as good) / (1 + shuffles). Else ``None``. Written are:

    ``uns[key_added]``
        ``linkage``, ``dendrogram_info``, ``categories_ordered``, ``correlation_matrix`` (Pearson, of the centroids) and
        the other keys of :func:`scanpy.tl.dendrogram`, and the ``metric``.
    ``uns[key_added]["ontology"]``
        With an ontology: the table as ``ari``, and as ``clusters`` the term that each type belongs to at each depth.

    Raises
    ------
    KeyError
        When the embedding or a column does not exist.
    ValueError
        When there are fewer than two types (three with an ontology), an option is unknown or out of range, only one of
        ``ontology`` and ``ontology_ids`` is given, a term is unknown, the cells of a type have several terms, the
        ontology divides them at no depth, or ``adata`` is a view of a file.
    ImportError
        When an ontology is to be read and obonet is not installed.

    Examples
    --------
    >>> import scanpy as sc
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> uc.tl.dendrogram(adata, "cell_type")
    >>> adata.uns["dendrogram_cell_type"]["categories_ordered"].tolist()[:2]
    ['CD14+ Monocyte', 'Dendritic']
    >>> sc.pl.dendrogram(adata, "cell_type", show=False)
    <Axes: >
    """
    import scipy.cluster.hierarchy as sch

    adata = get_modality(adata, mod)
    if linkage_method not in LINKAGES:
        raise ValueError(f"linkage_method={linkage_method!r} is not known; use one of {', '.join(LINKAGES)}.")
    if metric not in METRICS or (metric != "euclidean" and linkage_method in ("ward", "centroid", "median")):
        raise ValueError(f"metric={metric!r} is not known, or does not go with linkage_method={linkage_method!r}.")
    check_whole("min_cells", min_cells, 1)
    check_whole("n_permutations", n_permutations, 0)
    if (ontology is None) != (ontology_ids is None):
        given, other = ("ontology_ids", "ontology") if ontology is None else ("ontology", "ontology_ids")
        raise ValueError(f"{given}= is given without {other}=; the comparison with an ontology needs both.")
    check_writable(adata)
    seed = as_seed(rng)
    rep = get_embedding(adata, use_rep)
    groups = get_groups(adata, [groupby], known_cells(rep, metric), min_cells=min_cells)
    names = groups.table[groupby].to_numpy()
    if len(names) < 2:
        raise ValueError(f"obs[{groupby!r}] has one type, {names[0]!r}; a tree needs at least two.")
    means = embedding_means(rep, groups)
    apart = directions(means) if metric == "cosine" else means  # the cosine of the two is the same
    tree = sch.linkage(apart, method=linkage_method, metric=metric, optimal_ordering=True)
    info = {key: np.array(value) for key, value in sch.dendrogram(tree, labels=list(names), no_plot=True).items()}
    centered = means - means.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    scaled = centered / np.where(length > 0, length, np.nan)  # a centroid that is the same in all dimensions has none
    entry: dict[str, Any] = {
        "linkage": tree,
        "groupby": [groupby],
        "use_rep": use_rep,
        "cor_method": "pearson",
        "linkage_method": linkage_method,
        "metric": metric,
        "categories_ordered": info["ivl"],
        "categories_idx_ordered": info["leaves"],
        "dendrogram_info": info,
        "correlation_matrix": scaled @ scaled.T,
    }
    table = None
    if ontology is not None and ontology_ids is not None:
        graph = as_ontology(ontology)
        terms = group_terms(cell_terms(adata, graph, ontology_ids, groupby), groups, groupby)
        known = np.flatnonzero(pd.notna(terms))
        cuts = depth_cuts(tree_paths(graph, terms[known].tolist())) if len(known) else pd.DataFrame()
        if cuts.empty:
            raise ValueError(
                f"The ontology divides the {len(known)} types of obs[{groupby!r}] that have a term at no depth into "
                "fewer groups than types; at least three types are needed, two of which have something in common."
            )
        part = sch.linkage(apart[known], method=linkage_method, metric=metric)
        table = _compare(part, cuts, n_permutations, np.random.default_rng(seed))
        labels = cuts.map(lambda term: graph.nodes[term]["name"]).set_index(names[known]).rename(columns=str)
        entry["ontology"] = {"ari": table.copy(), "clusters": labels}
    adata.uns[f"dendrogram_{groupby}" if key_added is None else key_added] = entry
    return table


def _compare(tree: np.ndarray, cuts: pd.DataFrame, n_permutations: int, rng: np.random.Generator) -> pd.DataFrame:
    """The adjusted Rand index at each depth, and that of shuffled types."""
    orders = rng.permuted(np.tile(np.arange(len(cuts)), (n_permutations, 1)), axis=1)
    rows = []
    for depth, terms in cuts.items():
        theirs, _ = pd.factorize(terms)
        mine = cut_linkage(tree, theirs.max() + 1)
        (ari,) = adjusted_rand(theirs, mine[None])
        row: dict[str, Any] = {"depth": depth, "n_clusters": theirs.max() + 1, "ari": ari}
        null = adjusted_rand(theirs, mine[orders]) if n_permutations else np.full(1, np.nan)
        row["chance"] = null.mean()
        row["chance_low"], row["chance_high"] = np.quantile(null, [0.025, 0.975])
        # shuffles that divide the types in the same way may differ in the last digit
        at_least = (1 + (null >= ari - 1e-12).sum()) / (1 + n_permutations)
        row["p_value"] = at_least if n_permutations else np.nan
        rows.append(row)
    return pd.DataFrame(rows)

"""Cluster cell types hierarchically, and compare the tree with an ontology."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import Cells
from univerce.embeddings.groups import embedding_means, get_groups
from univerce.embeddings.ranks import METRICS, directions
from univerce.tl.ontology.graph import as_ontology
from univerce.tl.ontology.terms import cell_terms, depth_cuts, group_terms, tree_paths

if TYPE_CHECKING:
    import os

    import networkx as nx
    from mudata import MuData

_EUCLIDEAN_LINKAGES = ("ward", "centroid", "median")
_LINKAGES = ("single", "complete", "average", "weighted", *_EUCLIDEAN_LINKAGES)


@document
def dendrogram(
    adata: ad.AnnData | MuData,
    groupby: str = "cell_type",
    *,
    mod: str | None = None,
    use_rep: str = X_UCE,
    linkage_method: str = "average",
    metric: str = "euclidean",
    min_cells: int = 10,
    ontology: str | os.PathLike[str] | nx.DiGraph | None = None,
    ontology_ids: str | Mapping[str, str] | None = None,
    n_permutations: int = 1000,
    rng: int | np.random.Generator = 0,
    key_added: str = "uce_dendrogram",
    copy: bool = False,
) -> ad.AnnData | MuData | None:
    """Cluster cell types by the distances of their centroids, and compare the tree with an ontology.

    The centroids are clustered with :func:`scipy.cluster.hierarchy.linkage` (Rosen et al. 2026 use the Euclidean
    distance). The result has the form of :func:`scanpy.tl.dendrogram`: scanpy's plots draw it with ``dendrogram_key=``.

    An ontology is cut at every depth: types are in one cluster if their longest paths from the root share the term at
    that depth. The tree of the embedding is cut into as many clusters, and the adjusted Rand index measures their
    agreement: 1 for equal partitions, 0 for chance. Types without a term are not compared.

    Parameters
    ----------
    adata
        Annotated data, or centroids of :func:`univerce.tl.centroids` with ``min_cells=1``.
    %(groupby, mod, use_rep)s
    linkage_method
        ``"single"``, ``"complete"``, ``"average"`` or ``"weighted"``; with the Euclidean distance also ``"ward"``,
        ``"centroid"`` and ``"median"``.
    %(metric, min_cells, ontology, ontology_ids, n_permutations, rng, key_added, copy, sets)s

    ``uns[key_added]``
        ``linkage``, ``dendrogram_info``, ``categories_ordered``, ``correlation_matrix`` (Pearson, of the centroids) and
        the other keys of :func:`scanpy.tl.dendrogram`, and ``metric``.
    ``uns[key_added]["table"]``
        With an ontology, a row per ``depth`` with a new partition: ``n_clusters``, ``ari``, the mean ``chance`` of
        shuffled types, its 95 % interval ``chance_low`` to ``chance_high``, and the one-sided ``p_value``,
        (1 + shuffles at least as good) / (1 + shuffles).
    ``uns[key_added]["terms"]``
        With an ontology, the term of each type at each depth.

    Raises
    ------
    KeyError
        If the embedding or a column does not exist.
    ValueError
        If there are fewer than two types (three with an ontology), an option or a term is invalid, a type has several
        terms, the ontology does not partition the types, or ``adata`` is a view of a backed file.
    ImportError
        If obonet is needed and not installed.

    Examples
    --------
    >>> import scanpy as sc
    >>> import univerce as uc
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obsm["X_toy"] = adata.obs[["percent_mito", "S_score", "G2M_score"]].to_numpy()
    >>> uc.tl.dendrogram(adata, "cell_type", use_rep="X_toy")
    >>> adata.uns["uce_dendrogram"]["categories_ordered"].tolist()[:2]
    ['CD56+ NK', 'CD4+/CD25 T Reg']
    >>> sc.pl.dendrogram(adata, "cell_type", dendrogram_key="uce_dendrogram", show=False)
    <Axes: >
    """
    import scipy.cluster.hierarchy as sch

    data = adata.copy() if copy else adata
    adata = get_modality(data, mod)
    if linkage_method not in _LINKAGES:
        raise ValueError(f"linkage_method={linkage_method!r} is not known; use one of {', '.join(_LINKAGES)}.")
    if metric not in METRICS or (metric != "euclidean" and linkage_method in _EUCLIDEAN_LINKAGES):
        raise ValueError(f"metric={metric!r} is not known or cannot be used with linkage_method={linkage_method!r}.")
    check_whole("min_cells", min_cells, 1)
    check_whole("n_permutations", n_permutations, 0)
    if (ontology is None) != (ontology_ids is None):
        given, other = ("ontology_ids", "ontology") if ontology is None else ("ontology", "ontology_ids")
        raise ValueError(f"{given}= is given without {other}=; the comparison with an ontology needs both.")
    check_writable(adata, key_added)
    seed = as_seed(rng)

    cells = Cells.read(adata, use_rep, metric=metric)
    groups = get_groups(cells, [groupby], min_cells=min_cells)
    types = groups.table[groupby].to_numpy()
    if len(types) < 2:
        raise ValueError(f"obs[{groupby!r}] has one type, {types[0]!r}; a tree needs at least two.")
    means = embedding_means(cells, groups)
    points = directions(means) if metric == "cosine" else means
    tree = sch.linkage(points, method=linkage_method, metric=metric, optimal_ordering=True)
    info = {key: np.array(value) for key, value in sch.dendrogram(tree, labels=list(types), no_plot=True).items()}
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
        "correlation_matrix": pd.DataFrame(means.T).corr().to_numpy(),  # NaN for a centroid without variance
    }
    if ontology is not None and ontology_ids is not None:
        graph = as_ontology(ontology)
        terms = group_terms(cell_terms(adata.obs, graph, ontology_ids, groupby), groups, groupby)
        known = np.flatnonzero(pd.notna(terms))
        cuts = depth_cuts(tree_paths(graph, terms[known].tolist())) if len(known) else pd.DataFrame()
        if cuts.empty:
            raise ValueError(
                f"The ontology does not partition the {len(known)} types of obs[{groupby!r}] that have a term at any "
                "depth. At least three types are needed, two of them with an ancestor that the third lacks."
            )
        compared = sch.linkage(points[known], method=linkage_method, metric=metric)
        table = _compare_cuts(compared, cuts, n_permutations, np.random.default_rng(seed))
        names = cuts.map(lambda term: graph.nodes[term]["name"]).set_index(types[known]).rename(columns=str)
        entry |= {"table": table, "terms": names}
    adata.uns[key_added] = entry
    return data if copy else None


def _compare_cuts(tree: np.ndarray, cuts: pd.DataFrame, n_permutations: int, rng: np.random.Generator) -> pd.DataFrame:
    """The adjusted Rand index at each depth, and that of shuffled types."""
    orders = rng.permuted(np.tile(np.arange(len(cuts)), (n_permutations, 1)), axis=1)
    rows = []
    for depth, terms in cuts.items():
        theirs, _ = pd.factorize(terms)
        mine = cut_linkage(tree, theirs.max() + 1)
        (ari,) = adjusted_rand(theirs, mine[None])
        null = adjusted_rand(theirs, mine[orders]) if n_permutations else np.full(1, np.nan)
        low, high = np.quantile(null, [0.025, 0.975])
        # shuffles with the same partition may differ in the last digit
        p = (1 + (null >= ari - 1e-12).sum()) / (1 + n_permutations) if n_permutations else np.nan
        row = {"depth": depth, "n_clusters": theirs.max() + 1, "ari": ari, "chance": null.mean()}
        rows.append(row | {"chance_low": low, "chance_high": high, "p_value": p})
    return pd.DataFrame(rows)


def cut_linkage(linkage: np.ndarray, n_clusters: int) -> np.ndarray:
    """``[n]`` clusters after the first ``n - n_clusters`` merges of a linkage, from 0.

    Unlike :func:`scipy.cluster.hierarchy.cut_tree`, the number of clusters is right when merges invert, as those of
    the linkages ``"centroid"`` and ``"median"`` do.
    """
    n = len(linkage) + 1
    members = {i: [i] for i in range(n)}
    for step, (a, b) in enumerate(linkage[: n - n_clusters, :2].astype(int)):
        members[n + step] = members.pop(a) + members.pop(b)
    out = np.empty(n, dtype=np.int64)
    for number, cluster in enumerate(sorted(members.values(), key=min)):
        out[cluster] = number
    return out


def adjusted_rand(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``[m]`` adjusted Rand index (Hubert and Arabie 1985) of clusters ``[n]`` with each row of ``[m, n]``."""
    cells = a * (b.max() + 1) + b
    both, theirs = (np.array([_pairs(np.bincount(row)).sum() for row in rows]) for rows in (cells, b))
    mine = _pairs(np.bincount(a)).sum()
    expected, most = mine * theirs / _pairs(len(a)), (mine + theirs) / 2
    same = most == expected  # one cluster each, or one member each
    return np.where(same, 1.0, (both - expected) / np.where(same, 1, most - expected))


def _pairs(n: np.ndarray | int) -> np.ndarray:
    return np.asarray(n * (n - 1) / 2)

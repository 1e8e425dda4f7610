"""Test whether cell types of one lineage are close in an embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._docs import document
from univerce._keys import X_UCE
from univerce._settings import logger, progress_bar
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import Cells
from univerce.embeddings.classifiers import Logistic
from univerce.embeddings.groups import embedding_means, get_groups
from univerce.embeddings.ranks import OVERALL, check_metric, self_distances, summarize
from univerce.tl.ontology.graph import as_ontology, describe, resolve_terms
from univerce.tl.ontology.terms import cell_terms, group_terms

if TYPE_CHECKING:
    import os

    import networkx as nx
    from mudata import MuData


@document
def lineage_colocalization(
    adata: ad.AnnData | MuData,
    *,
    lineages: Mapping[str, str | Sequence[str]],
    ontology: str | os.PathLike[str] | nx.DiGraph,
    ontology_ids: str | Mapping[str, str],
    groupby: str = "cell_type",
    mod: str | None = None,
    use_rep: str = X_UCE,
    metric: str = "euclidean",
    min_cells: int = 10,
    n_permutations: int = 1000,
    rng: int | np.random.Generator = 0,
    key_added: str = "lineage_colocalization",
) -> pd.DataFrame:
    r"""Count the cell types whose nearest centroid is of the same lineage, such as a germ layer.

    A type belongs to the lineage whose term is its closest ancestor. Types of no lineage, and those equally close to
    two, are left out and logged. The Cell Ontology does not state the germ layer of adult cells, so choose the terms::

        lineages = {
            "mesoderm": ["hematopoietic cell", "connective tissue cell", "muscle cell", "endothelial cell"],
            "endoderm": ["intestinal epithelial cell", "hepatocyte", "epithelial cell of lung"],
            "ectoderm": ["neural cell", "keratinocyte"],
        }

    Rosen et al. (2026) also report the accuracy of a classifier on types left out of its training. Here it is the
    logistic regression of :func:`univerce.tl.transfer_labels`, fitted to the centroids of all other types with balanced
    weights. It cannot predict a lineage that has only one type.

    Parameters
    ----------
    adata
        Annotated data, or centroids of :func:`univerce.tl.centroids` with ``min_cells=1``.
    lineages
        Terms of each lineage, one or several: ids, names or exact synonyms.
    %(ontology, ontology_ids, groupby, mod, use_rep, metric, min_cells, n_permutations, rng, key_added)s

    Returns
    -------
    A row per ``lineage`` and one for ``"overall"``: ``hits`` of ``n`` types have their nearest centroid in the same
    lineage, as a ``share``; ``chance``, its 95 % interval ``chance_low`` to ``chance_high`` and the one-sided
    ``p_value`` are of shuffled lineages. ``accuracy`` is that of the classifier on left-out types, ``majority`` that of
    always predicting the most frequent lineage. Writes:

    %(written)s
    ``uns[key_added]["types"]``
        A row per type: ``term``, ``lineage``, the ``nearest`` type, its ``nearest_lineage``, and the ``predicted``
        lineage.

    Raises
    ------
    KeyError
        If the embedding or a column does not exist.
    ValueError
        If an option or a term is invalid, a type has several terms, fewer than two lineages have types, or ``adata`` is
        a view of a backed file.
    ImportError
        If obonet is needed and not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> terms = {"CL:1": ("lymphocyte", ""), "CL:2": ("T cell", "CL:1"), "CL:3": ("B cell", "CL:1")}
    >>> terms |= {"CL:4": ("myeloid cell", ""), "CL:5": ("monocyte", "CL:4"), "CL:6": ("dendritic cell", "CL:4")}
    >>> lines = [f"[Term]\nid: {i}\nname: {name}\n" + f"is_a: {up}\n" * bool(up) for i, (name, up) in terms.items()]
    >>> _ = Path("small.obo").write_text("\n".join(["ontology: small\n", *lines]))
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> adata.obsm["X_toy"] = adata.obs[["percent_mito", "S_score", "G2M_score"]].to_numpy()
    >>> ids = {"CD14+ Monocyte": "CL:5", "Dendritic": "CL:6", "CD8+ Cytotoxic T": "CL:2", "CD4+/CD25 T Reg": "CL:2"}
    >>> lineages = {"lymphoid": "CL:1", "myeloid": "CL:4"}
    >>> table = uc.tl.lineage_colocalization(
    ...     adata, lineages=lineages, ontology="small.obo", ontology_ids=ids, use_rep="X_toy"
    ... )
    >>> table[["lineage", "hits", "n"]].values.tolist()
    [['overall', 3, 4], ['lymphoid', 1, 2], ['myeloid', 2, 2]]
    """
    adata = get_modality(adata, mod)
    check_metric(metric)
    check_whole("min_cells", min_cells, 1)
    check_whole("n_permutations", n_permutations, 0)
    if OVERALL in lineages:
        raise ValueError(f"A lineage is named {OVERALL!r}, which is the row of all lineages. Rename it.")
    check_writable(adata, key_added)
    seed = as_seed(rng)
    graph = as_ontology(ontology)

    cells = Cells.read(adata, use_rep, metric=metric)
    groups = get_groups(cells, [groupby], min_cells=min_cells)
    types = groups.table[groupby].to_numpy()
    terms = group_terms(cell_terms(adata.obs, graph, ontology_ids, groupby), groups, groupby)
    lineage = _assign_lineages(graph, terms, lineages, types)
    counted = np.flatnonzero(lineage != "")
    types, terms, lineage = types[counted], terms[counted], lineage[counted]
    kinds, sizes = np.unique(lineage, return_counts=True)
    if len(kinds) < 2:
        raise ValueError(
            f"The types of obs[{groupby!r}] belong to fewer than two lineages: {', '.join(kinds) or 'none'}. Add "
            "ancestors of their terms to lineages."
        )
    means = embedding_means(cells, groups)[counted]
    nearest = self_distances(means, metric).argmin(axis=1)
    predicted = _predict_left_out(means, lineage)

    shuffled = np.random.default_rng(seed).permuted(np.tile(lineage, (n_permutations, 1)), axis=1)
    hit, shuffled_hit = lineage == lineage[nearest], shuffled == shuffled[:, nearest]
    majority = kinds[sizes.argmax()]
    rows: list[dict[str, Any]] = []
    for name in (OVERALL, *(name for name in lineages if name in kinds)):
        here, there = (np.ones_like(x, dtype=bool) if name == OVERALL else x == name for x in (lineage, shuffled))
        row = summarize(int(hit[here].sum()), int(here.sum()), (shuffled_hit & there).sum(axis=1))
        row |= {"accuracy": (predicted == lineage)[here].mean(), "majority": (lineage == majority)[here].mean()}
        rows.append({"lineage": name, **row})
    table = pd.DataFrame(rows)
    by_type = {"type": types, "term": terms, "lineage": lineage, "nearest": types[nearest]}
    by_type |= {"nearest_lineage": lineage[nearest], "predicted": predicted}
    adata.uns[key_added] = {
        "table": table,
        "types": pd.DataFrame(by_type),
        "params": {
            "groupby": groupby, "use_rep": use_rep, "metric": metric, "min_cells": min_cells,
            "n_permutations": n_permutations, "seed": seed, **describe(graph),
        },
    }  # fmt: skip
    return table.copy()


def _assign_lineages(
    graph: nx.DiGraph, terms: np.ndarray, lineages: Mapping[str, str | Sequence[str]], types: np.ndarray
) -> np.ndarray:
    """``[n_types]`` lineage of each type, empty if there is none or two are equally close."""
    import networkx as nx

    given = {name: [ids] if isinstance(ids, str) else list(ids) for name, ids in lineages.items()}
    resolved = resolve_terms(graph, (term for ids in given.values() for term in ids), what="terms in lineages")
    out = np.full(len(terms), "", dtype=object)
    unclear = []
    for place in np.flatnonzero(pd.notna(terms)):
        steps = nx.single_source_shortest_path_length(graph, terms[place])  # to each ancestor
        closest = {name: min([np.inf, *(steps.get(resolved[i], np.inf) for i in ids)]) for name, ids in given.items()}
        least = min(closest.values(), default=np.inf)
        names = [name for name, n in closest.items() if n == least < np.inf]
        if len(names) == 1:
            out[place] = names[0]
        else:
            unclear.append(f"{types[place]!r} ({' or '.join(names) or 'none'})")
    if unclear:
        logger.info("%d types without a single lineage are left out: %s.", len(unclear), ", ".join(unclear))
    return out


def _predict_left_out(means: np.ndarray, lineage: np.ndarray) -> np.ndarray:
    """``[n_types]`` lineage predicted for each type by a classifier fitted to all others."""
    codes, kinds = pd.factorize(lineage, sort=True)
    out = np.empty(len(means), dtype=object)
    for left_out in progress_bar(range(len(means)), unit="type", desc="left-out types"):
        rest = np.arange(len(means)) != left_out
        if len(np.unique(codes[rest])) == 1:
            out[left_out] = lineage[rest][0]
            continue
        model = Logistic.fit(means[rest], codes[rest], len(kinds), balanced=True)
        out[left_out] = kinds[model.log_proba(means[[left_out]])[0].argmax()]
    return out

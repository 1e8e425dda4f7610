"""Do cell types lie beside types of their own lineage?"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from univerce._keys import X_UCE
from univerce._settings import settings
from univerce._validate import as_seed, check_whole, check_writable, get_modality
from univerce.embeddings.cells import get_embedding, known_cells
from univerce.embeddings.classifiers import Logistic
from univerce.embeddings.groups import embedding_means, get_groups
from univerce.embeddings.ranks import check_metric, self_distances, summarize
from univerce.tl.alignment.tables import OVERALL
from univerce.tl.ontology.graph import as_ontology, resolve_terms
from univerce.tl.ontology.terms import cell_terms, group_terms

if TYPE_CHECKING:
    import os

    import networkx as nx
    from mudata import MuData

logger = logging.getLogger(__name__)


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
    min_cells: int = 1,
    n_permutations: int = 1000,
    rng: int | np.random.Generator = 0,
    key_added: str = "lineage_colocalization",
) -> pd.DataFrame:
    r"""Whether the centroid nearest to a cell type is of the same lineage, such as a germ layer.

    The lineages are named by terms of the ontology, and a type belongs to the lineage that it is a kind of. The Cell
    Ontology does not say which germ layer the cells of an adult come from (its terms for mesodermal, endodermal and
    ectodermal cells mean embryonic ones), so the terms are yours to choose::

        lineages = {
            "mesoderm": ["hematopoietic cell", "connective tissue cell", "muscle cell", "endothelial cell"],
            "endoderm": ["intestinal epithelial cell", "hepatocyte", "epithelial cell of lung"],
            "ectoderm": ["neural cell", "keratinocyte"],
        }

    A type that is a kind of several lineages belongs to the one whose term is the fewest edges above it, so that naming
    a more special term, or that of the type itself, decides. Types of no lineage, and those equally near to two, are
    left out, with a note in the log.

    Rosen et al. (2024) count the types whose nearest other centroid is of the same germ layer, and how often a
    classifier tells the layer of a type that it was not trained on. Here the classifier is that of
    :func:`univerce.tl.transfer_labels` on the centroids of all other types, with balanced weights: one scale for all
    columns, so that those in which types hardly differ do not count as much as those in which they do, and rotating the
    embedding changes nothing. It cannot find a lineage of a single type.

    Parameters
    ----------
    adata
        Cells, or centroids of :func:`univerce.tl.centroids`; results are written into ``uns``.
    lineages
        The terms of each lineage: ids, names or exact synonyms, one or several.
    ontology
        Path of an OBO file, or what :func:`univerce.tl.read_ontology` gives.
    ontology_ids
        Column of ``obs`` with the term of each cell, one for all cells of a type; or a mapping from types to terms.
    groupby
        Column of ``obs`` with the types.
    mod
        Modality, when ``adata`` is a MuData.
    use_rep
        Key of the embedding in ``obsm``.
    metric
        Of the nearest centroid: ``"euclidean"``, or ``"cosine"``, under which a cell of zeros has no direction and
        counts as one without an embedding.
    min_cells
        Smaller groups are left out, with a note in the log.
    n_permutations
        Shuffles of the lineages among the types; 0 leaves chance out.
    rng
        Seed, or generator, of the shuffles.
    key_added
        Key in ``uns``.

    Returns
    -------
    A row for each ``lineage`` and one that is ``"overall"``: of its ``n`` types, ``hits`` have their nearest centroid
    in the same lineage, which is their ``share``; ``chance``, its 95 % interval ``chance_low`` to ``chance_high`` and
    the one-sided ``p_value`` are of shuffled lineages. ``accuracy`` is the share of the types whose lineage the
    classifier tells without having seen them, ``majority`` what always naming the most frequent lineage gives. Written
    are:

    ``uns[key_added]["scores"]``
        The same table.
    ``uns[key_added]["types"]``
        Every type that was counted: its ``term``, ``lineage``, the ``nearest`` type, its ``nearest_lineage``, and the
        lineage ``predicted`` for it.
    ``uns[key_added]["params"]``
        What was compared.

    Raises
    ------
    KeyError
        When the embedding or a column does not exist.
    ValueError
        When a term is unknown, the cells of a type have several terms, fewer than two lineages have types, an option is
        out of range, or ``adata`` is a view of a file.
    ImportError
        When an ontology is to be read and obonet is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import univerce as uc
    >>> terms = {"CL:1": ("lymphocyte", ""), "CL:2": ("T cell", "CL:1"), "CL:3": ("B cell", "CL:1")}
    >>> terms |= {"CL:4": ("myeloid cell", ""), "CL:5": ("monocyte", "CL:4"), "CL:6": ("dendritic cell", "CL:4")}
    >>> lines = [f"[Term]\nid: {i}\nname: {name}\n" + f"is_a: {up}\n" * bool(up) for i, (name, up) in terms.items()]
    >>> _ = Path("small.obo").write_text("\n".join(["ontology: small\n", *lines]))
    >>> adata = uc.datasets.pbmc68k_reduced()
    >>> uc.tl.uce_embed(adata)
    >>> ids = {"CD14+ Monocyte": "CL:5", "Dendritic": "CL:6", "CD8+ Cytotoxic T": "CL:2", "CD4+/CD25 T Reg": "CL:2"}
    >>> lineages = {"lymphoid": "CL:1", "myeloid": "CL:4"}
    >>> scores = uc.tl.lineage_colocalization(
    ...     adata, lineages=lineages, ontology="small.obo", ontology_ids=ids
    ... )
    >>> scores[["lineage", "hits", "n"]].values.tolist()
    [['overall', 4, 4], ['lymphoid', 2, 2], ['myeloid', 2, 2]]
    """
    adata = get_modality(adata, mod)
    check_metric(metric)
    check_whole("min_cells", min_cells, 1)
    check_whole("n_permutations", n_permutations, 0)
    if OVERALL in lineages:
        raise ValueError(f"A lineage is called {OVERALL!r}, as the sum of all is called; rename it.")
    check_writable(adata)
    seed = as_seed(rng)
    graph = as_ontology(ontology)
    rep = get_embedding(adata, use_rep)
    groups = get_groups(adata, [groupby], known_cells(rep, metric), min_cells=min_cells)
    terms = group_terms(cell_terms(adata, graph, ontology_ids, groupby), groups, groupby)
    found = _lineages(graph, terms, lineages, groups.table[groupby].to_numpy())
    counted = np.flatnonzero(found != "")
    names, lineage = groups.table[groupby].to_numpy()[counted], found[counted]
    if len(np.unique(lineage)) < 2:
        raise ValueError(
            f"The types of obs[{groupby!r}] are of fewer than two lineages: {', '.join(np.unique(lineage)) or 'none'}. "
            f"Give terms that are above those of the types, or the types' own, in lineages."
        )
    means = embedding_means(rep, groups)[counted]
    nearest = self_distances(means, metric).argmin(axis=1)
    predicted = _predict_held_out(means, lineage, settings.progress)

    shuffled = np.random.default_rng(seed).permuted(np.tile(lineage, (n_permutations, 1)), axis=1)
    hit, shuffled_hit = lineage == lineage[nearest], shuffled == shuffled[:, nearest]
    kinds, sizes = np.unique(lineage, return_counts=True)
    majority = kinds[sizes.argmax()]
    rows: list[dict[str, Any]] = []
    for name in (OVERALL, *(name for name in lineages if name in kinds)):
        here, there = (np.ones_like(x, dtype=bool) if name == OVERALL else x == name for x in (lineage, shuffled))
        row = summarize(int(hit[here].sum()), int(here.sum()), (shuffled_hit & there).sum(axis=1))
        row |= {"accuracy": (predicted == lineage)[here].mean(), "majority": (lineage == majority)[here].mean()}
        rows.append({"lineage": name, **row})
    table = pd.DataFrame(rows)
    types = {"type": names, "term": terms[counted], "lineage": lineage, "nearest": names[nearest]}
    types |= {"nearest_lineage": lineage[nearest], "predicted": predicted}
    adata.uns[key_added] = {
        "scores": table,
        "types": pd.DataFrame(types),
        "params": {
            "groupby": groupby, "use_rep": use_rep, "metric": metric, "min_cells": min_cells,
            "n_permutations": n_permutations, "seed": seed, "ontology": str(graph.graph.get("name")),
            "ontology_version": str(graph.graph.get("version")),
        },
    }  # fmt: skip
    return table.copy()


def _lineages(
    graph: nx.DiGraph, terms: np.ndarray, lineages: Mapping[str, str | Sequence[str]], names: np.ndarray
) -> np.ndarray:
    """``[n_groups]`` the lineage of each type, empty for one of none or of two equally near ones."""
    import networkx as nx

    given = {name: [ids] if isinstance(ids, str) else list(ids) for name, ids in lineages.items()}
    resolved = resolve_terms(graph, (term for ids in given.values() for term in ids), what="terms in lineages")
    out = np.full(len(terms), "", dtype=object)
    unclear = []
    for place, term in enumerate(terms):
        if pd.isna(term):
            continue
        above = nx.single_source_shortest_path_length(graph, term)  # edges lead upwards
        steps = {
            name: min((above.get(resolved[i], np.inf) for i in ids), default=np.inf) for name, ids in given.items()
        }
        least = min(steps.values(), default=np.inf)
        nearest = [name for name, n in steps.items() if n == least and np.isfinite(n)]
        if len(nearest) == 1:
            out[place] = nearest[0]
        else:
            unclear.append(f"{names[place]!r} ({' or '.join(nearest) or 'none'})")
    if unclear:
        logger.info("%d types of no one lineage are left out: %s.", len(unclear), ", ".join(unclear))
    return out


def _predict_held_out(means: np.ndarray, lineage: np.ndarray, show: bool) -> np.ndarray:
    """``[n_types]`` the lineage that a classifier trained on all other types gives each."""
    codes, kinds = pd.factorize(lineage, sort=True)
    out = np.empty(len(means), dtype=object)
    for held_out in tqdm(range(len(means)), unit="type", desc="held-out types", disable=not show):
        rest = np.arange(len(means)) != held_out
        if len(np.unique(codes[rest])) == 1:
            out[held_out] = lineage[rest][0]
            continue
        model = Logistic.fit(means[rest], codes[rest], len(kinds), balanced=True)
        out[held_out] = kinds[model.log_proba(means[[held_out]])[0].argmax()]
    return out

"""Which term of an ontology a cell or a group is, and how the ontology divides terms at each depth."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd

from univerce.embeddings.labels import get_labels, label_names
from univerce.tl.ontology.graph import depths, resolve_terms

if TYPE_CHECKING:
    import networkx as nx

    from univerce.embeddings.groups import Groups

logger = logging.getLogger(__name__)


def stated_terms(ids: Mapping[str, str] | pd.Series) -> dict[str, str]:
    """The terms of a mapping from labels, without the labels whose term is missing or empty."""
    terms = dict(ids)
    pairs = zip(label_names(pd.Index(terms)), terms.values(), strict=True)
    return {name: str(term) for name, term in pairs if pd.notna(term) and term != ""}


def cell_terms(
    adata: ad.AnnData, ontology: nx.DiGraph, ontology_ids: str | Mapping[str, str], groupby: str
) -> np.ndarray:
    """``[n_obs]`` id of the term of each cell, NaN for a cell without one.

    Parameters
    ----------
    adata
        The cells.
    ontology
        Graph of :func:`univerce.tl.read_ontology`.
    ontology_ids
        Column of ``obs`` with ids or names of terms, or such a term for each label of ``groupby``.
    groupby
        Column of ``obs`` with the labels that a mapping speaks of.

    Raises
    ------
    ValueError
        When a term is unknown, or no label has one.
    """
    mapped = not isinstance(ontology_ids, str)
    labels = get_labels(adata.obs, groupby if mapped else str(ontology_ids))
    given = {} if isinstance(ontology_ids, str) else stated_terms(ontology_ids)
    names = {label: given[label] for label in labels.categories if label in given}
    if mapped and not names:
        raise ValueError(
            f"ontology_ids names none of the labels in obs[{groupby!r}], such as {labels.categories[0]!r}; it has "
            f"{', '.join(map(repr, list(given)[:5])) or 'none'}."
        )
    if mapped and len(names) < len(labels.categories):
        missing = labels.categories.difference(list(names))
        logger.info("%d labels without a term are left out: %s.", len(missing), ", ".join(map(repr, missing)))
    names = names or {label: label for label in labels.categories}
    found = resolve_terms(ontology, names.values(), what="terms in ontology_ids")
    terms = np.array([*(found[names[c]] if c in names else np.nan for c in labels.categories), np.nan], dtype=object)
    return terms[labels.codes]


def group_terms(terms: np.ndarray, groups: Groups, groupby: str) -> np.ndarray:
    """``[n_groups]`` the term of each group, NaN for a group without one.

    Raises
    ------
    ValueError
        When the cells of a group are of several terms.
    """
    used = (groups.codes >= 0) & pd.notna(terms)
    distinct = pd.DataFrame({"group": groups.codes[used], "term": terms[used]}).drop_duplicates()
    several = distinct[distinct["group"].duplicated(keep=False)].sort_values(["group", "term"])
    if len(several):
        first = several["group"].iloc[0]
        ids = several.loc[several["group"] == first, "term"]
        raise ValueError(
            f"{several['group'].nunique()} groups of obs[{groupby!r}] are of several terms, such as "
            f"{groups.table[groupby].iloc[first]!r} of {', '.join(ids)}. Group by the terms instead, or pass a mapping "
            "from groups to terms as ontology_ids."
        )
    out = np.full(len(groups.table), np.nan, dtype=object)
    out[distinct["group"]] = distinct["term"]
    if (bare := pd.isna(out)).any():
        names = ", ".join(map(repr, groups.table.loc[bare, groupby]))
        logger.info("%d groups of obs[%r] have no term: %s.", bare.sum(), groupby, names)
    return out


def tree_paths(ontology: nx.DiGraph, terms: Sequence[str]) -> list[list[str]]:
    """The longest way from a root down to each term.

    A term of the Cell Ontology is often of several kinds at once: an enterocyte is an absorptive cell and an epithelial
    cell of the intestine. Of its parents the deepest is taken, which is the most specific one, and among equals the
    first by its id; that makes a tree of the ontology.
    """
    depth = depths(ontology)
    paths = []
    for term in terms:
        path = [term]
        while parents := list(ontology.successors(path[-1])):
            path.append(min(parents, key=lambda parent: (-depth[parent], parent)))
        paths.append(path[::-1])
    return paths


def depth_cuts(paths: Sequence[Sequence[str]]) -> pd.DataFrame:
    """The term at each depth that each path leads through; a path that has ended stays where it is.

    Returns
    -------
    ``[n_terms, n_cuts]`` with the depths as columns; each partition once, and neither all in one nor all alone.
    """
    cuts: dict[int, list[str]] = {}
    seen: set[tuple[int, ...]] = set()
    for depth in range(max(map(len, paths))):
        cut = [path[min(depth, len(path) - 1)] for path in paths]
        partition = tuple(pd.factorize(np.array(cut, dtype=object))[0].tolist())
        if 1 < len(set(partition)) < len(paths) and partition not in seen:
            cuts[depth] = cut
            seen.add(partition)
    return pd.DataFrame(cuts)

"""Terms of cells and groups of cells, and the partitions of terms at each depth of an ontology."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from univerce._settings import logger
from univerce.embeddings.labels import get_labels, label_names
from univerce.tl.ontology.graph import depths, resolve_terms

if TYPE_CHECKING:
    import networkx as nx

    from univerce.embeddings.groups import Groups


def stated_terms(ids: Mapping[str, str] | pd.Series) -> dict[str, str]:
    """Terms by label, without labels whose term is missing or empty."""
    terms = dict(ids)
    pairs = zip(label_names(pd.Index(terms)), terms.values(), strict=True)
    return {name: str(term) for name, term in pairs if pd.notna(term) and term != ""}


def cell_terms(
    obs: pd.DataFrame, ontology: nx.DiGraph, ontology_ids: str | Mapping[str, str], groupby: str
) -> np.ndarray:
    """``[n_obs]`` id of the term of each cell, NaN for a cell without one; ``ValueError`` if no label has one."""
    if isinstance(ontology_ids, str):
        labels = get_labels(obs, ontology_ids)
        names = {label: label for label in labels.categories}
    else:
        labels, given = get_labels(obs, groupby), stated_terms(ontology_ids)
        names = {label: given[label] for label in labels.categories if label in given}
        missing = labels.categories.difference(list(names))
        if not names:
            raise ValueError(
                f"ontology_ids has none of the labels in obs[{groupby!r}], such as {labels.categories[0]!r}. Its "
                f"labels are: {', '.join(map(repr, list(given)[:5])) or 'none'}."
            )
        if len(missing):
            logger.info("%d labels without a term are left out: %s.", len(missing), ", ".join(map(repr, missing)))
    found = resolve_terms(ontology, names.values(), what="terms in ontology_ids")
    terms = np.array([*(found[names[c]] if c in names else np.nan for c in labels.categories), np.nan], dtype=object)
    return terms[labels.codes]


def group_terms(terms: np.ndarray, groups: Groups, groupby: str) -> np.ndarray:
    """``[n_groups]`` term of each group, NaN for a group without one; ``ValueError`` if a group has several."""
    used = (groups.codes >= 0) & pd.notna(terms)
    distinct = pd.DataFrame({"group": groups.codes[used], "term": terms[used]}).drop_duplicates()
    several = distinct[distinct["group"].duplicated(keep=False)].sort_values(["group", "term"])
    if len(several):
        first = several["group"].iloc[0]
        ids = several.loc[several["group"] == first, "term"]
        raise ValueError(
            f"{several['group'].nunique()} groups of obs[{groupby!r}] have several terms, such as "
            f"{groups.table[groupby].iloc[first]!r} with {', '.join(ids)}. Group by the terms instead, or pass a "
            "mapping from groups to terms as ontology_ids."
        )
    out = np.full(len(groups.table), np.nan, dtype=object)
    out[distinct["group"]] = distinct["term"]
    if (missing := pd.isna(out)).any():
        names = ", ".join(map(repr, groups.table.loc[missing, groupby]))
        logger.info("%d groups of obs[%r] have no term: %s.", missing.sum(), groupby, names)
    return out


def tree_paths(ontology: nx.DiGraph, terms: Sequence[str]) -> list[list[str]]:
    """Longest path from a root to each term.

    Terms of the Cell Ontology often have several parents. The deepest, which is the most specific one, is taken, and
    among equals the first by id. This turns the ontology into a tree.
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
    """``[n_terms, n_cuts]`` term of each path at each depth, without trivial or repeated partitions.

    A path that has ended keeps its last term.
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

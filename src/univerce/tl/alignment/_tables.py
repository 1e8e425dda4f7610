"""Tables of an alignment of centroids: scores, the nearest centroids of each type, and all pairs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from univerce.embeddings.ranks import OVERALL, Ranks, rank_reference, shuffled_hits, summarize


class Centroids(NamedTuple):
    """Centroids of cell types, within tissues or (``None``) of all cells."""

    means: np.ndarray
    types: np.ndarray
    n_cells: np.ndarray
    tissues: np.ndarray | None

    def in_tissue(self, tissue: str) -> Centroids:
        """Centroids of one tissue."""
        if self.tissues is None:
            return self
        here = self.tissues == tissue
        return Centroids(self.means[here], self.types[here], self.n_cells[here], None)


def compare(
    query: Centroids, reference: Centroids, *, ks: tuple[int, ...], metric: str, n_permutations: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Scores, types and pairs of each tissue. Its shuffles depend on the seed and the number of the tissue alone."""
    rows, types, pairs = [], [], []
    totals: dict[tuple[str, int], list[Any]] = {}
    tissues = [OVERALL] if query.tissues is None else np.unique(query.tissues)
    for number, tissue in enumerate(tissues):
        mine, theirs = query.in_tissue(tissue), reference.in_tissue(tissue)
        ranks = rank_reference(mine.means, theirs.means, metric)
        match = pd.Index(theirs.types).get_indexer(pd.Index(mine.types))
        for key, counts in _count_hits(ranks, match, ks, n_permutations, [seed, number]).items():
            totals[key] = [a + b for a, b in zip(totals.get(key, (0, 0, 0)), counts, strict=True)]
            rows.append({"tissue": tissue, "score": key[0], "k": key[1], **summarize(*counts)})
        types.append(_types(ranks, match, mine, theirs, tissue))
        pairs.append(_pairs(ranks, mine.types, theirs.types, tissue))
    rows = [] if query.tissues is None else rows
    rows[:0] = [{"tissue": OVERALL, "score": score, "k": k, **summarize(*n)} for (score, k), n in totals.items()]
    scores = pd.DataFrame(rows)
    return scores, pd.concat(types, ignore_index=True), pd.concat(pairs, ignore_index=True)


def _count_hits(
    ranks: Ranks, match: np.ndarray, ks: tuple[int, ...], n_permutations: int, seed: list[int]
) -> dict[tuple[str, int], tuple[int, int, np.ndarray]]:
    """Hits, number of types, and hits of shuffled labels, by score and ``k``."""
    shared = np.flatnonzero(match >= 0)
    counted = {}
    for score, table in (("either", ranks.rank_either), ("cross", ranks.rank_cross)):
        found = table[shared, match[shared]]
        shuffled = shuffled_hits(table, match, ks, n_permutations, np.random.default_rng(seed))
        for column, k in enumerate(ks):
            counted[score, k] = (int((found <= k).sum()), len(shared), shuffled[:, column])
    n_mixing = len(match) if ranks.cross.shape[1] else 0  # undefined in a tissue that the reference lacks
    counted["mixing", 1] = (int(_in_reference(ranks).sum()), n_mixing, np.empty(0))
    return counted


def _in_reference(ranks: Ranks) -> np.ndarray:
    """``[n_query]`` whether the nearest centroid is in the reference."""
    return ranks.cross.min(axis=1, initial=np.inf) < ranks.own.min(axis=1, initial=np.inf)


def _types(ranks: Ranks, match: np.ndarray, mine: Centroids, theirs: Centroids, tissue: str) -> pd.DataFrame:
    """Nearest centroids of each type of the query."""
    own, own_distance = _nearest(ranks.own, mine.types)
    cross, cross_distance = _nearest(ranks.cross, theirs.types)
    in_reference, matched = _in_reference(ranks), match >= 0
    alone = np.isnan(own_distance) & np.isnan(cross_distance)

    def of_match(values: np.ndarray) -> np.ndarray:
        out = np.full(len(match), np.nan)
        out[matched] = values[np.flatnonzero(matched), match[matched]]
        return out

    n_cells_reference = np.zeros(len(match), dtype=np.int64)
    n_cells_reference[matched] = theirs.n_cells[match[matched]]
    return pd.DataFrame(
        {
            "tissue": tissue,
            "type": mine.types,
            "in_reference": matched,
            "n_cells": mine.n_cells,
            "n_cells_reference": n_cells_reference,
            "nearest": np.where(in_reference, cross, own),
            "nearest_data": np.where(alone, "", np.where(in_reference, "reference", "query")),
            "nearest_query": own,
            "distance_query": own_distance,
            "nearest_reference": cross,
            "distance_reference": cross_distance,
            "distance_match": of_match(ranks.cross),
            "rank_either": of_match(ranks.rank_either),
            "rank_cross": of_match(ranks.rank_cross),
        }
    )


def _nearest(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label and distance of the nearest; an empty label and NaN if there is none."""
    if not np.isfinite(distances).any():
        return np.full(len(distances), "", dtype=object), np.full(len(distances), np.nan)
    return labels[distances.argmin(axis=1)], distances.min(axis=1)


def _pairs(ranks: Ranks, mine: np.ndarray, theirs: np.ndarray, tissue: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "tissue": tissue,
            "query": np.repeat(mine, len(theirs)),
            "reference": np.tile(theirs, len(mine)),
            "distance": ranks.cross.ravel(),
            "rank_cross": ranks.rank_cross.ravel(),
            "rank_either": ranks.rank_either.ravel(),
        }
    )

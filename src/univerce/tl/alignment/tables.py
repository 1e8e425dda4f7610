"""Tables of an alignment of centroids: its scores, what is nearest to each type, and all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from univerce.embeddings.ranks import Ranks, rank_reference, shuffled_hits, summarize

OVERALL = "overall"
"""What the sum over the tissues is called."""


@dataclass(frozen=True, eq=False)
class Centroids:
    """Centroids of types.

    Parameters
    ----------
    means
        ``[n_groups, n_dims]``.
    types
        ``[n_groups]`` labels.
    n_cells
        ``[n_groups]`` cells behind each.
    tissues
        ``[n_groups]`` the tissue of each, or ``None`` to compare all with all.
    """

    means: np.ndarray
    types: np.ndarray
    n_cells: np.ndarray
    tissues: np.ndarray | None = None

    def of(self, tissue: str) -> Centroids:
        """Those of one tissue."""
        if self.tissues is None:
            return self
        here = self.tissues == tissue
        return Centroids(self.means[here], self.types[here], self.n_cells[here])


def compare(
    query: Centroids, reference: Centroids, *, ks: tuple[int, ...], metric: str, n_permutations: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Scores, types and pairs, tissue by tissue; what shuffles a tissue depends on the seed and its place alone."""
    rows, types, pairs = [], [], []
    totals: dict[tuple[str, int], list[Any]] = {}
    tissues = [OVERALL] if query.tissues is None else np.unique(query.tissues)
    for number, tissue in enumerate(tissues):
        mine, theirs = query.of(tissue), reference.of(tissue)
        ranks = rank_reference(mine.means, theirs.means, metric)
        match = pd.Index(theirs.types).get_indexer(pd.Index(mine.types))
        for key, counts in _count(ranks, match, ks, n_permutations, [seed, number]).items():
            totals[key] = [a + b for a, b in zip(totals.get(key, (0, 0, 0)), counts, strict=True)]
            rows.append({"tissue": tissue, "score": key[0], "k": key[1], **summarize(*counts)})
        types.append(_types(ranks, match, mine, theirs, tissue))
        pairs.append(_pairs(ranks, mine.types, theirs.types, tissue))
    overall = [
        {"tissue": OVERALL, "score": key[0], "k": key[1], **summarize(*counts)} for key, counts in totals.items()
    ]
    scores = pd.DataFrame(overall if query.tissues is None else [*overall, *rows])
    return scores, pd.concat(types, ignore_index=True), pd.concat(pairs, ignore_index=True)


def _count(
    ranks: Ranks, match: np.ndarray, ks: tuple[int, ...], n_permutations: int, seed: list[int]
) -> dict[tuple[str, int], tuple[int, int, np.ndarray]]:
    """Hits, number of types, and hits of shuffled labels, of every score and ``k``."""
    shared = np.flatnonzero(match >= 0)
    counted = {}
    for score, table in (("either", ranks.rank_either), ("cross", ranks.rank_cross)):
        found = table[shared, match[shared]]
        shuffled = shuffled_hits(table, match, ks, n_permutations, np.random.default_rng(seed))
        for column, k in enumerate(ks):
            counted[score, k] = (int((found <= k).sum()), len(shared), shuffled[:, column])
    n_mixing = len(match) if ranks.cross.shape[1] else 0  # a tissue that the reference lacks tells nothing
    counted["mixing", 1] = (int(_crossed(ranks).sum()), n_mixing, np.empty(0))
    return counted


def _crossed(ranks: Ranks) -> np.ndarray:
    """``[n_query]`` whether the nearest centroid is one of the reference."""
    return ranks.cross.min(axis=1, initial=np.inf) < ranks.own.min(axis=1, initial=np.inf)


def _types(ranks: Ranks, match: np.ndarray, mine: Centroids, theirs: Centroids, tissue: str) -> pd.DataFrame:
    """What is nearest to each type of the query."""
    own, own_distance = _nearest(ranks.own, mine.types)
    cross, cross_distance = _nearest(ranks.cross, theirs.types)
    crossed, there = _crossed(ranks), match >= 0
    alone = np.isnan(own_distance) & np.isnan(cross_distance)

    def matched(values: np.ndarray) -> np.ndarray:
        out = np.full(len(match), np.nan)
        out[there] = values[np.flatnonzero(there), match[there]]
        return out

    n_cells_reference = np.zeros(len(match), dtype=np.int64)
    n_cells_reference[there] = theirs.n_cells[match[there]]
    return pd.DataFrame(
        {
            "tissue": tissue,
            "type": mine.types,
            "in_reference": there,
            "n_cells": mine.n_cells,
            "n_cells_reference": n_cells_reference,
            "nearest": np.where(crossed, cross, own),
            "nearest_data": np.where(alone, "", np.where(crossed, "reference", "query")),
            "nearest_query": own,
            "distance_query": own_distance,
            "nearest_reference": cross,
            "distance_reference": cross_distance,
            "distance_match": matched(ranks.cross),
            "rank_either": matched(ranks.rank_either),
            "rank_cross": matched(ranks.rank_cross),
        }
    )


def _nearest(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label and distance of the nearest; an empty label and NaN when there is none."""
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

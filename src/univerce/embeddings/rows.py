"""Fingerprints of the rows of an embedding, to notice cells that are in two data sets."""

from __future__ import annotations

import numpy as np

from univerce._settings import logger
from univerce.embeddings.cells import Cells
from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows

_SEED = 20240101


def fingerprints(block: np.ndarray) -> np.ndarray:
    """``[n]`` 64-bit hash of each row ``[n, n_dims]`` in float16; equal rows have equal hashes.

    float16 is what an atlas may store, so that a cell is recognized in both. Two different cells share a hash with a
    probability of 2**-64.
    """
    odd = np.random.default_rng(_SEED).integers(2**63, size=(2, block.shape[1]), dtype=np.uint64) * np.uint64(2)
    first, second = odd + np.uint64(1)
    out = np.empty(len(block), dtype=np.uint64)
    for rows in blocks_of_rows(len(block), ROUNDED_ROWS):
        with np.errstate(over="ignore"):  # of float16
            half = np.ascontiguousarray(block[rows], dtype=np.float16)
        mixed = (half.view(np.uint16).astype(np.uint64) + np.uint64(1)) * first
        mixed ^= mixed >> np.uint64(29)
        out[rows] = np.add.reduce(mixed * second, axis=1, dtype=np.uint64)
    return out


def count_shared(query: Cells, reference: Cells) -> int:
    """Count and log the cells with an embedding that are in the reference, too."""
    mine, theirs = (np.concatenate([fingerprints(block) for _, block in c.blocks()]) for c in (query, reference))
    n_shared = int(np.isin(mine[query.known], theirs).sum())
    if n_shared:
        logger.warning(
            "%s of %s cells are also in the reference, which makes them look like it. Leave them out of one of "
            "the two.", f"{n_shared:,}", f"{len(query):,}",
        )  # fmt: skip
    return n_shared

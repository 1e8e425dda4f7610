"""Fingerprints of the rows of an embedding."""

from __future__ import annotations

import numpy as np

_SEED = 20240101


def fingerprints(block: np.ndarray) -> np.ndarray:
    """``[n]`` 64-bit hash of each row ``[n, n_dims]`` in float16; equal rows have equal hashes.

    float16 is what an atlas may store, so that a cell is recognized in both. Two different cells share a hash with a
    probability of 2**-64.
    """
    with np.errstate(over="ignore"):
        words = np.ascontiguousarray(block, dtype=np.float16).view(np.uint16).astype(np.uint64) + np.uint64(1)
        odd = np.random.default_rng(_SEED).integers(2**63, size=block.shape[1], dtype=np.uint64) * np.uint64(2)
        mixed = words * (odd + np.uint64(1))
        mixed ^= mixed >> np.uint64(29)
        return np.add.reduce(mixed * (odd[::-1] + np.uint64(1)), axis=1, dtype=np.uint64)

"""Samples of cells that depend on the names of the cells alone, not on their order."""

from __future__ import annotations

import numpy as np

from univerce.inference.sentences import cell_keys


def shuffled_rows(names: np.ndarray, rows: np.ndarray, seed: int, *, draw: int = 0) -> np.ndarray:
    """Sort ``rows`` of the cells with ``names`` by the hash of the seed and each cell's name.

    The first ``k`` of them are a random sample of the cells: the same for every order of the cells, and part of every
    larger sample. ``draw`` numbers streams of random numbers; :func:`univerce.tl.uce_embed` uses 0, 1, 2, ...
    """
    keys = cell_keys(names[rows], seed, draw=draw)
    return rows[np.argsort(keys, kind="stable")]

"""Samples of cells that depend on the names of the cells alone, not on their order."""

from __future__ import annotations

import numpy as np

from univerce.inference.tokens import cell_keys


def shuffled_rows(names: np.ndarray, rows: np.ndarray, seed: int, *, draw: int = 0) -> np.ndarray:
    """Sort rows by the hash of the seed and each cell's name.

    The first ``k`` of them are a random sample of the cells: the same for every order of the cells, and part of every
    larger sample.

    Parameters
    ----------
    names
        ``[n_obs]`` names of all cells.
    rows
        ``[n]`` cells to sort.
    seed
        Seed of the hash.
    draw
        Number of the stream of random numbers. The draws of :func:`univerce.tl.uce_embed` are 0, 1, 2, ...
    """
    keys = cell_keys(names[rows], seed, draw=draw)
    return rows[np.argsort(keys, kind="stable")]

"""The rows of a count matrix to draw from: all of them, or a window that moves over a matrix on disk."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from scipy import sparse

from univerce.io.blocks import iter_blocks

N_ALWAYS = 512
"""Training cells of a matrix on disk that are always in memory."""


class Rows(Protocol):
    """The source of the cells of a data set."""

    def at(self, step: int | None) -> np.ndarray:
        """The training cells to draw from at a step; None are those that are always in memory."""

    def take(self, cells: np.ndarray) -> sparse.csr_matrix:
        """``[cells, n_vars]`` counts."""


class InMemory:
    """All rows of a matrix in memory."""

    def __init__(self, counts: sparse.csr_matrix, training: np.ndarray) -> None:
        self._counts, self._training = counts, training

    def at(self, step: int | None) -> np.ndarray:
        """As :meth:`Rows.at`."""
        return self._training

    def take(self, cells: np.ndarray) -> sparse.csr_matrix:
        """As :meth:`Rows.take`."""
        return self._counts[cells]


class Window:
    """Some blocks of a matrix on disk, in an order that is shuffled for every pass.

    Its content follows from the step and the seed, so that a resumed run continues where it stopped. It moves by a
    block when as many cells were drawn as a block holds: every cell is drawn once per pass, on average. ``n_blocks``
    are in memory; if there are no more, all of them stay.
    """

    def __init__(
        self, X: Any, training: np.ndarray, *, block_rows: int, n_blocks: int, cells_per_step: float, seed: list[int]
    ) -> None:
        self._X, self._training, self._block_rows, self._seed = X, training, block_rows, seed
        self._all, cells = np.unique(training // block_rows, return_counts=True)
        self._n_blocks = min(n_blocks, len(self._all))
        self._pace = cells_per_step / cells.mean() if n_blocks < len(self._all) else 0.0
        self._blocks: dict[int, sparse.csr_matrix] = {}
        rng = np.random.default_rng(seed)
        self._always = np.sort(rng.choice(training, size=min(N_ALWAYS, len(training)), replace=False))
        self._always_counts = self._read(self._always)

    def at(self, step: int | None) -> np.ndarray:
        """As :meth:`Rows.at`; only one thread may move the window."""
        if step is None:
            return self._always
        wanted = self._shown(int(step * self._pace))
        missing = [k for k in wanted if k not in self._blocks]
        for k in self._blocks.keys() - set(wanted):
            del self._blocks[k]  # before the next ones are read, to bound the memory
        for rows, block in iter_blocks(self._X, self._block_rows, blocks=missing):
            self._blocks[rows.start // self._block_rows] = block
        first = np.searchsorted(self._training, np.array(wanted) * self._block_rows)
        last = np.searchsorted(self._training, (np.array(wanted) + 1) * self._block_rows)
        return np.concatenate([self._training[i:j] for i, j in zip(first, last, strict=True)])

    def take(self, cells: np.ndarray) -> sparse.csr_matrix:
        """As :meth:`Rows.take`; cells that are not in memory are read one by one."""
        wanted, where = np.unique(cells, return_inverse=True)
        parts: list[tuple[np.ndarray, sparse.csr_matrix]] = []
        always = np.isin(wanted, self._always)
        if always.any():
            found = np.flatnonzero(always)
            parts.append((found, self._always_counts[np.searchsorted(self._always, wanted[found])]))
        block_of = wanted // self._block_rows
        unread = ~always
        for k in np.unique(block_of[unread]):
            if (block := self._blocks.get(int(k))) is not None:
                found = np.flatnonzero(unread & (block_of == k))
                parts.append((found, block[wanted[found] - int(k) * self._block_rows]))
                unread[found] = False
        if unread.any():
            parts.append((np.flatnonzero(unread), self._read(wanted[unread])))
        place = np.argsort(np.concatenate([found for found, _ in parts]))
        return sparse.vstack([block for _, block in parts], format="csr")[place[where]]

    def _shown(self, turn: int) -> list[int]:
        """The blocks of the window after ``turn`` moves, sorted."""
        n = len(self._all)
        shown: list[int] = []
        for pass_ in range(turn // n, (turn + self._n_blocks - 1) // n + 1):
            order = np.random.default_rng([*self._seed, pass_]).permutation(self._all)
            shown += order[max(turn - pass_ * n, 0) : turn + self._n_blocks - pass_ * n].tolist()
        return sorted(set(shown))

    def _read(self, cells: np.ndarray) -> sparse.csr_matrix:
        """Read single rows, in sorted order."""
        return sparse.vstack([block for _, block in iter_blocks(self._X, 1, blocks=cells)], format="csr")

"""The rows of a count matrix that training may draw from: all of them, or a window that moves over a matrix on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from anndata.io import sparse_dataset
from scipy import sparse

from univerce.io.blocks import iter_blocks, n_rows

N_ALWAYS = 512
"""Training cells of a matrix on disk that are in memory whatever the window shows."""


@dataclass(frozen=True)
class OnDisk:
    """A count matrix in a file; it is opened by who reads it, so that another process can.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import anndata as ad, numpy as np
    >>> from univerce.training.window import OnDisk
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / "cells.h5ad"
    ...     ad.AnnData(np.ones((3, 2), dtype="float32")).write_h5ad(path)
    ...     OnDisk(path, "X").shape
    (3, 2)
    """

    path: Path
    """An ``.h5ad`` or ``.zarr``."""
    key: str
    """``X``, or ``layers/`` and the name of a layer."""

    def open(self) -> Any:
        """The matrix as :func:`~univerce.io.blocks.iter_blocks` reads it; ``KeyError`` when there is none."""
        root = open_store(self.path)
        if self.key not in root:
            raise KeyError(f"{self.path} has no {self.key}.")
        element = root[self.key]
        return element if hasattr(element, "dtype") else sparse_dataset(element)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and variables."""
        n, n_vars = self.open().shape
        return int(n), int(n_vars)


def open_store(path: Path) -> Any:
    """The root group of an ``.h5ad`` or ``.zarr``."""
    if path.suffix == ".zarr":
        import zarr

        return zarr.open_group(path, mode="r")
    import h5py

    return h5py.File(path, "r")


class Rows(Protocol):
    """Where the cells of a data set come from."""

    def at(self, step: int | None) -> np.ndarray:
        """The training cells to draw from at a step; None are those that can be drawn from at any time."""

    def take(self, cells: np.ndarray) -> sparse.csr_matrix:
        """``[cells, n_vars]`` counts."""


class InMemory:
    """All rows of a matrix in memory.

    Parameters
    ----------
    counts
        ``[n_cells, n_vars]``.
    training
        The cells to train on.
    """

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

    What it shows at a step follows from the step and the seed alone, so that a resumed run goes on where it was. It
    moves by a block when as many cells were drawn as a block holds: every cell is drawn once a pass, on average.

    Parameters
    ----------
    X
        Any matrix that :func:`~univerce.io.blocks.iter_blocks` reads.
    training
        The cells to train on, sorted.
    block_rows
        Rows of a block: what is read at a time.
    n_blocks
        Blocks in memory; when there are no more, all of them stay.
    cells_per_step
        Cells drawn in a step on average.
    seed
        Seed of the order of the blocks.
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
            del self._blocks[k]  # before the next ones are read: this is what bounds the memory
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
        """Rows in sorted order, each read by itself."""
        return sparse.vstack([block for _, block in iter_blocks(self._X, 1, blocks=cells)], format="csr")


def open_counts(counts: Any) -> Any:
    """A matrix that rows can be taken of: what is in memory becomes CSR, the rest stays where it is.

    Parameters
    ----------
    counts
        Any matrix that :func:`~univerce.io.blocks.iter_blocks` reads, or an :class:`OnDisk`.

    Returns
    -------
    A ``csr_matrix`` when the counts are in memory.

    Raises
    ------
    TypeError
        When it is no such matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from univerce.training.window import open_counts
    >>> type(open_counts(np.eye(2))).__name__
    'csr_matrix'
    """
    X = counts.open() if isinstance(counts, OnDisk) else counts
    n_rows(X)
    if sparse.issparse(X) or type(X) is np.ndarray:
        return sparse.csr_matrix(X)
    return X

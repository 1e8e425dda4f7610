"""A data set to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

from univerce.io.blocks import n_rows, read_all
from univerce.io.ondisk import OnDisk


@dataclass(frozen=True)
class TrainingSet:
    """Raw counts of one data set with the gene table of its species.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> import univerce as uc
    >>> counts = sparse.csr_matrix(np.ones((4, 3), dtype=np.float32))
    >>> rows = np.array([5, -1, 9], dtype=np.int32)
    >>> uc.model.TrainingSet("example", counts, rows, uc.genes.load_table("human")).counts.shape
    (4, 3)
    """

    name: str
    """Name in the log."""
    counts: Any
    """``[n_cells, n_vars]`` raw counts: a scipy sparse matrix or numpy array in memory, or a backed matrix, zarr, h5py
    or dask array, which is read block by block; see :func:`univerce.pp.training_set`."""
    rows: np.ndarray
    """``[n_vars]`` int32 row of the gene table of each variable, -1 for none."""
    table: ad.AnnData
    """Gene table."""

    def __repr__(self) -> str:
        n_cells, n_vars = self.counts.shape
        species = self.table.uns["gene_table"]["species"]
        genes = int((self.rows >= 0).sum())
        return f"TrainingSet {self.name!r}: {n_cells:,} cells of {species}, {genes:,} of {n_vars:,} variables are genes"

    def portable(self) -> TrainingSet:
        """Return the data set in a form that can be sent to another process.

        Returns
        -------
        The data set; counts on disk are replaced by their location.

        Raises
        ------
        ValueError
            If another process cannot open the counts.
        """
        counts = self.counts
        if not (isinstance(counts, np.ndarray | OnDisk) or sparse.issparse(counts)):
            counts = OnDisk.find(counts)
            if counts is None or not isinstance(counts.path, str):
                raise ValueError(
                    f"The data set {self.name!r} is an open {type(self.counts).__name__}, which cannot be sent to "
                    "other processes; write the counts as a CSR matrix to an .h5ad or .zarr and pass its path to "
                    "univerce.pp.training_set."
                )
        return TrainingSet(self.name, counts, self.rows, self.table.to_memory() if self.table.isbacked else self.table)

    def open(self) -> Any:
        """Return the counts: a ``csr_matrix`` in memory, or the matrix on disk.

        Returns
        -------
        Any matrix that :func:`~univerce.io.blocks.iter_blocks` reads.

        Raises
        ------
        TypeError
            If the counts are no such matrix.
        ValueError
            If ``rows`` does not have an entry for every variable, or entries of a sparse matrix lie outside of it.
        """
        X = self.counts.open() if isinstance(self.counts, OnDisk) else self.counts
        n_rows(X)
        if X.shape[1] != len(self.rows):
            raise ValueError(
                f"The data set {self.name!r} has {X.shape[1]} variables, but rows has {len(self.rows)} entries."
            )
        if not (sparse.issparse(X) or isinstance(X, np.ndarray)):
            return X
        try:
            return read_all(X)
        except ValueError as error:
            raise ValueError(f"The counts of the data set {self.name!r} cannot be read: {error}") from error

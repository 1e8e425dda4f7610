"""Cells with an embedding, in memory or on disk, and fingerprints of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Self

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce._settings import logger
from univerce.embeddings.labels import get_labels
from univerce.embeddings.space import EmbeddingInfo, Space
from univerce.io.intact import read_rows
from univerce.io.ondisk import OnDisk
from univerce.io.workers import ROUNDED_ROWS, blocks_of_rows, map_rows

BLOCK_ROWS = 16384

_SEED = 20240101


@dataclass(frozen=True, eq=False)
class Cells:
    """An embedding and the cells it belongs to. Use :meth:`read` to take it from an AnnData."""

    values: Any
    """``[n, n_dims]`` as stored: numpy, zarr, HDF5 or dask."""
    obs: pd.DataFrame = field(default_factory=pd.DataFrame)
    space: Space | None = None
    """``None`` if nothing is recorded, as for other methods."""
    use_rep: str = X_UCE
    name: str = "adata"
    """Name of the data in messages."""
    metric: str = "euclidean"
    client: Any = None
    """A ``dask.distributed.Client`` whose workers read the embedding; ``None`` if it is in memory."""

    @classmethod
    def read(
        cls,
        adata: ad.AnnData,
        use_rep: str = X_UCE,
        *,
        name: str = "adata",
        metric: str = "euclidean",
        client: Any = None,
    ) -> Self:
        """Read the cells of an AnnData; ``KeyError`` if ``obsm[use_rep]`` does not exist.

        ``ValueError`` if it is not a dense matrix of numbers with a column, or the cells come from several spaces.
        """
        if use_rep not in adata.obsm:
            available = ", ".join(map(repr, adata.obsm)) or "none"
            raise KeyError(
                f"{name}.obsm[{use_rep!r}] does not exist; its keys are: {available}. Embed the cells with "
                f"uc.tl.uce_embed({name}, key_added={use_rep!r}), or pass use_rep=."
            )
        rep = adata.obsm[use_rep]
        rep = rep.to_numpy() if isinstance(rep, pd.DataFrame) else rep
        if hasattr(rep, "indptr") or getattr(rep, "ndim", 0) != 2 or rep.shape[1] == 0 or rep.dtype.kind not in "fiu":
            raise ValueError(
                f"{name}.obsm[{use_rep!r}] must be a dense matrix of numbers [n_obs, n_dims], not "
                f"{type(rep).__name__} of shape {getattr(rep, 'shape', None)}."
            )
        client = None if client is None or OnDisk.find(rep) is None else client
        return cls(rep, adata.obs, Space.find(adata, use_rep), use_rep, name, metric, client)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def n_dims(self) -> int:
        """Width of the embedding."""
        return int(self.values.shape[1])

    @property
    def names(self) -> np.ndarray:
        """``[n]`` names of the cells, as text."""
        return self.obs.index.astype(str).to_numpy(dtype=object)

    @property
    def info(self) -> EmbeddingInfo:
        """Width and space, to compare with those of another embedding."""
        return EmbeddingInfo(self.n_dims, self.space, self.use_rep, self.name)

    @cached_property
    def known(self) -> np.ndarray:
        """``[n]`` cells with an embedding: finite, for the cosine not all zero, for the correlation not constant."""
        known = np.ones(len(self), dtype=bool)
        parts = ((rows,) for rows in blocks_of_rows(len(self), BLOCK_ROWS))
        work = partial(_known, self.metric)
        for rows, found in map_rows(work, self.values, parts, client=self.client, name="known_cells"):
            known[rows] = found
        return known

    def labels(self, key: str) -> pd.Categorical:
        """Read labels of the cells, see :func:`~univerce.embeddings.labels.get_labels`."""
        return get_labels(self.obs, key, name=self.name)

    def rows(self, rows: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """Read ``[len(rows), n_dims]``, in any order; only blocks that hold some of them are read."""
        out = np.empty((len(rows), self.n_dims), dtype=dtype)
        block = rows // BLOCK_ROWS
        places = {int(k): np.flatnonzero(block == k) for k in np.unique(block)}
        starts = ((k * BLOCK_ROWS, at) for k, at in places.items())
        parts = ((slice(start, start + BLOCK_ROWS), rows[at] - start) for start, at in starts)
        for read, values in map_rows(_take, self.values, parts, client=self.client, name="gather"):
            out[places[read.start // BLOCK_ROWS]] = values
        return out

    def blocks(self, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, np.ndarray]]:
        """Read blocks of rows as float32."""
        for rows in blocks_of_rows(len(self), block_rows):
            yield rows, read_rows(self.values, rows)

    def require_space(self) -> Space:
        """The space; ``KeyError`` if none is recorded."""
        return self.info.require_space()

    def check_comparable(self, reference: Cells, *, check_space: bool = True) -> None:
        """Raise unless distances to ``reference`` mean something, see :meth:`EmbeddingInfo.check_comparable`."""
        self.info.check_comparable(reference.info, check_space=check_space)


def known_in_all(*cells: Cells) -> np.ndarray:
    """``[n]`` cells that have each of several embeddings."""
    return np.logical_and.reduce([each.known for each in cells])


def _take(block: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return block[rows]


def _known(metric: str, block: np.ndarray) -> np.ndarray:
    known = np.isfinite(block).all(axis=1)
    if metric == "cosine":
        known &= block.any(axis=1)
    elif metric == "correlation":
        known &= block.max(axis=1) != block.min(axis=1)
    return known


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

"""Cells with an embedding: the values wherever they lie, which cells have one, its space, and the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce.embeddings.labels import get_labels
from univerce.embeddings.space import Space, require_space
from univerce.io.rows import blocks_of_rows, map_rows, read_rows

BLOCK_ROWS = 65536
_GATHER_ROWS = 16384


@dataclass(frozen=True, eq=False)
class Cells:
    """An embedding and what the analyses need to know of its cells; :meth:`read` takes it from an AnnData."""

    values: Any
    """``[n, n_dims]`` as it lies there: numpy, zarr, HDF5 or dask; rows are read by slicing."""
    obs: pd.DataFrame
    """Labels of the cells; the index holds their names."""
    space: Space | None
    """What made the embedding; ``None`` when nothing is recorded, as for other methods."""
    use_rep: str = X_UCE
    name: str = "adata"
    """How messages call the data."""
    metric: str = "euclidean"
    client: Any = None
    """A ``dask.distributed.Client`` whose workers read the embedding."""

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
        """The cells of an AnnData.

        Raises
        ------
        KeyError
            When there is no such key; the message lists those there are.
        ValueError
            When it is not a dense matrix of numbers with at least one column.
        """
        values = get_embedding(adata, use_rep, name=name)
        return cls(values, adata.obs, Space.find(adata.uns, use_rep), use_rep, name, metric, client)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def n_dims(self) -> int:
        """Width of the embedding."""
        return int(self.values.shape[1])

    @property
    def names(self) -> pd.Index:
        """Names of the cells."""
        return self.obs.index

    @cached_property
    def known(self) -> np.ndarray:
        """``[n]`` which cells have an embedding: no NaN or infinity, and a direction where the metric is the cosine."""
        return known_cells(self.values, self.metric, client=self.client)

    def labels(self, key: str) -> pd.Categorical:
        """Labels of the cells, see :func:`~univerce.embeddings.labels.get_labels`."""
        return get_labels(self.obs, key, name=self.name)

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """``[n, n_dims]`` float32, some rows in any order."""
        return gather(self.values, rows, client=self.client)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of rows as float32."""
        return iter_rows(self.values)

    def require_space(self) -> Space:
        """The space; ``KeyError`` when none is recorded."""
        return require_space(self.space, self.use_rep, name=self.name)

    def check_comparable(self, reference: Cells, *, check_space: bool = True) -> None:
        """Raise unless the embedding may be compared with that of ``reference``.

        Parameters
        ----------
        reference
            The other cells; their embeddings must be equally wide.
        check_space
            Demand that both record one space; ``False`` takes the word of the caller for it, which embeddings of other
            methods need.

        Raises
        ------
        ValueError
            When the widths or the spaces differ.
        KeyError
            When the space of either is not recorded.
        """
        if self.n_dims != reference.n_dims:
            raise ValueError(
                f"obsm[{self.use_rep!r}] has {self.n_dims} columns in {self.name} and {reference.n_dims} in "
                f"{reference.name}: they are not one space. Embed both with the same model."
            )
        if not check_space:
            return
        try:
            mine, theirs = self.require_space(), reference.require_space()
        except KeyError as error:  # two models on record are two spaces, whatever the caller says
            hint = "If you know that both lie in one space, as those of one scVI model, pass check_space=False."
            raise KeyError(f"{error.args[0]} {hint}") from error
        mine.check_same(theirs, self.use_rep)


def get_embedding(adata: ad.AnnData, use_rep: str = X_UCE, *, name: str = "adata") -> Any:
    """The embedding ``[n_obs, n_dims]`` as it lies there: numpy, zarr, HDF5 or dask; rows are read by slicing.

    Raises
    ------
    KeyError
        When there is no such key; the message lists those there are.
    ValueError
        When it is not a dense matrix of numbers with at least one column.
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
            f"{name}.obsm[{use_rep!r}] is no embedding: a dense matrix of numbers [n_obs, n_dims] is needed, not "
            f"{type(rep).__name__} of shape {getattr(rep, 'shape', None)}."
        )
    return rep


def iter_rows(rep: Any, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows of an embedding as float32, wherever it lies."""
    for rows in blocks_of_rows(rep.shape[0], block_rows):
        yield rows, read_rows(rep, rows)


def gather(rep: Any, rows: np.ndarray, *, client: Any = None) -> np.ndarray:
    """``[n, n_dims]`` float32, some rows of an embedding in any order; blocks without any of them are not read."""
    out = np.empty((len(rows), rep.shape[1]), dtype=np.float32)
    block = rows // _GATHER_ROWS
    here = {int(k): np.flatnonzero(block == k) for k in np.unique(block)}
    parts = ((slice(k * _GATHER_ROWS, (k + 1) * _GATHER_ROWS), rows[at] - k * _GATHER_ROWS) for k, at in here.items())
    for read, values in map_rows(_take, rep, parts, client=client, name="gather"):
        out[here[read.start // _GATHER_ROWS]] = values
    return out


def _take(block: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return block[rows]


def known_cells(rep: Any, metric: str = "euclidean", *, client: Any = None) -> np.ndarray:
    """``[n_obs]`` whether a cell has an embedding; a row with NaN or infinity is none.

    Under the cosine a row of zeros is none either: it has no direction.
    """
    known = np.ones(rep.shape[0], dtype=bool)
    parts = ((rows,) for rows in blocks_of_rows(rep.shape[0], BLOCK_ROWS if client is None else _GATHER_ROWS))
    for rows, found in map_rows(partial(_known, metric == "cosine"), rep, parts, client=client, name="known_cells"):
        known[rows] = found
    return known


def _known(cosine: bool, block: np.ndarray) -> np.ndarray:
    return np.isfinite(block).all(axis=1) & (block.any(axis=1) if cosine else True)


def check_comparable(
    adata: ad.AnnData, reference: ad.AnnData, use_rep: str, *, check_space: bool, names: tuple[str, str]
) -> None:
    """See :meth:`Cells.check_comparable`."""
    mine, theirs = (Cells.read(a, use_rep, name=n) for a, n in zip((adata, reference), names, strict=True))
    mine.check_comparable(theirs, check_space=check_space)

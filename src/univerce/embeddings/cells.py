"""What the analyses read of an AnnData: an embedding, by blocks of cells, and labels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce.embeddings.space import compare_spaces
from univerce.io.rows import blocks_of_rows, map_rows, read_rows

BLOCK_ROWS = 65536
_GATHER_ROWS = 16384


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
    """Raise unless the embeddings of two AnnData may be compared.

    Parameters
    ----------
    adata, reference
        The two; their embeddings must be equally wide.
    use_rep
        Key of the embedding in both.
    check_space
        Demand that :func:`univerce.tl.check_same_space` finds one space; False takes the caller's word for it, which
        embeddings of other methods need.
    names
        How messages call the two.

    Raises
    ------
    ValueError
        When the widths differ, or the spaces.
    KeyError
        When either has no such embedding, or no record of its space.
    """
    widths = [get_embedding(a, use_rep, name=n).shape[1] for a, n in zip((adata, reference), names, strict=True)]
    if widths[0] != widths[1]:
        raise ValueError(
            f"obsm[{use_rep!r}] has {widths[0]} columns in {names[0]} and {widths[1]} in {names[1]}: they are not one "
            "space. Embed both with the same model."
        )
    if not check_space:
        return
    try:
        compare_spaces(adata, reference, use_rep, names)
    except KeyError as error:  # not for two models on record: those are two spaces, whatever the caller says
        hint = "If you know that both lie in one space, as those of one scVI model, pass check_space=False."
        raise KeyError(f"{error.args[0]} {hint}") from error


def get_labels(adata: ad.AnnData, key: str, *, name: str = "adata") -> pd.Categorical:
    """The labels of the cells as text; a missing label is NaN, and only categories that occur are kept.

    Whole numbers read the same whether they are stored as integers or, as pandas does when one is missing, as floats.

    Raises
    ------
    KeyError
        When there is no such column; the message lists those there are.
    ValueError
        When no cell has a label, or the column holds fractions.
    """
    if key not in adata.obs:
        available = ", ".join(map(repr, adata.obs.columns)) or "none"
        raise KeyError(f"{name}.obs[{key!r}] does not exist; its columns are: {available}.")
    column = adata.obs[key]
    if column.dtype.kind == "f" and (column.dropna() % 1 != 0).any():
        raise ValueError(f"{name}.obs[{key!r}] holds fractions, not labels.")
    stated = isinstance(column.dtype, pd.CategoricalDtype)
    labels = (column.array if stated else pd.Categorical(column)).remove_unused_categories()
    if len(labels.categories) == 0:
        why = "every cell is missing one" if len(column) else "there is no cell"
        raise ValueError(f"{name}.obs[{key!r}] has no label at all; {why}.")
    names = label_names(labels.categories)
    kept = names.unique() if stated else names.unique().sort_values()
    codes = np.append(kept.get_indexer(names), -1)  # the last is where a missing label looks
    return pd.Categorical.from_codes(codes[labels.codes], categories=kept)


def label_names(labels: pd.Index) -> pd.Index:
    """Labels as text; whole numbers have no decimal point."""
    pairs = zip(labels, labels.astype(str), strict=True)
    return pd.Index(
        [str(int(x)) if isinstance(x, float) and x.is_integer() else text for x, text in pairs], dtype=object
    )

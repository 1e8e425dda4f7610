"""Embeddings of the CELLxGENE Census: TileDB-SOMA arrays ``[soma_joinid, n_dims]``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

_INFO = "CxG_embedding_info"
_JOINID = "soma_joinid"


def read_census(path: Path | str, obs: pd.DataFrame) -> tuple[np.ndarray, dict[str, Any]]:
    """Read the embedding ``[n_cells, n_dims]`` float32 of the cells in ``obs``, and what its makers say about it.

    Cells without an embedding are NaN.
    """
    try:
        import tiledbsoma
    except ImportError as error:
        raise ImportError(
            'Embeddings of the CELLxGENE Census need TileDB-SOMA: pip install "univerce[census]".'
        ) from error
    ids = _join_ids(obs)
    wanted = np.unique(ids)
    try:
        opened = tiledbsoma.open(str(path))
    except tiledbsoma.DoesNotExistError as error:
        raise FileNotFoundError(f"There is no TileDB-SOMA array at {str(path)!r}.") from error
    with opened as array:
        if getattr(array, "soma_type", "") != "SOMASparseNDArray" or array.ndim != 2:
            raise ValueError(
                f"{str(path)!r} is a {getattr(array, 'soma_type', type(array).__name__)}, not an embedding: a sparse "
                "array [soma_joinid, n_dims]."
            )
        n_rows, n_dims = array.shape
        values = np.full((len(wanted), n_dims), np.nan, dtype=np.float32)
        inside = wanted[(wanted >= 0) & (wanted < n_rows)]
        for part in array.read((inside, slice(None))).tables() if len(inside) else ():
            rows = np.searchsorted(wanted, part["soma_dim_0"].to_numpy())
            found = np.unique(rows)
            values[found[np.isnan(values[found]).all(axis=1)]] = 0  # zeros are not stored
            values[rows, part["soma_dim_1"].to_numpy()] = part["soma_data"].to_numpy()
        info = json.loads(array.metadata[_INFO]) if _INFO in array.metadata else {}
    kept = {key: str(info[key]) for key in ("id", "title", "census_version") if info.get(key)}
    return values[np.searchsorted(wanted, ids)], {f"census_{key.removeprefix('census_')}": v for key, v in kept.items()}


def _join_ids(obs: pd.DataFrame) -> np.ndarray:
    if _JOINID in obs:
        column = obs[_JOINID]
    elif obs.index.name == _JOINID:
        column = obs.index.to_series()
    else:
        columns = ", ".join(map(repr, obs.columns)) or "none"
        raise KeyError(f"obs= has no {_JOINID!r}, by which the Census numbers its cells; its columns are: {columns}.")
    return column.to_numpy(dtype=np.int64)

"""Read embeddings that others computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce.embeddings.space import Space, stated_digest
from univerce.genes.species import resolve_species
from univerce.io.files import open_anndata

_CHECKED_ROWS = 1000
_TOLERANCE = 0.02  # of the length of a row; published embeddings are rounded

_INFO = "CxG_embedding_info"
_JOINID = "soma_joinid"


def read_precomputed(
    path: Path | str,
    *,
    model: str = "uce-33l",
    species: str | None = None,
    obs: pd.DataFrame | None = None,
    use_rep: str = X_UCE,
) -> ad.AnnData:
    """Read published UCE embeddings, for search, centroids, label transfer and atlases.

    The Integrated Mega-scale Atlas of the authors and the embeddings of the CELLxGENE Census come from the 33-layer
    network (Rosen et al. 2026). The files do not record the model, so ``model`` states the space: embeddings of that
    model can be compared with them, all others raise an error.

    Parameters
    ----------
    path
        An ``.h5ad`` or ``.zarr`` whose ``X``, or else ``obsm[use_rep]``, is the embedding; with ``obs``, the directory
        or address of a CELLxGENE Census embedding, a TileDB-SOMA array ``[soma_joinid, n_dims]``.
    model
        Name of the model that made the embedding, as stated by its authors.
    species
        Species of the cells, to be recorded. ``None`` if there are several, or if it is unknown.
    obs
        Cells of the Census to read, with their ``soma_joinid`` as column or index, such as ``obs`` of
        ``cellxgene_census.get_anndata``.
    use_rep
        Key in ``obsm`` of the embedding to read and to write.

    Returns
    -------
    AnnData ``[n_obs, 0]`` with ``obs``, the embedding in ``obsm[use_rep]`` and its space in
    ``uns["univerce"][use_rep]``. The embedding of a file stays on disk. Cells without an embedding in the Census are
    NaN.

    Raises
    ------
    ValueError
        If the file has no embedding: one of the first 1,000 rows is not finite, or not of unit length as those of UCE.
    KeyError
        If ``obs`` has no ``soma_joinid``.
    FileNotFoundError
        If the file does not exist.
    ImportError
        If TileDB-SOMA is not installed.

    Examples
    --------
    >>> import anndata as ad, numpy as np
    >>> import univerce as uc
    >>> ad.AnnData(np.eye(4, 6, dtype="float32")).write_h5ad("ima.h5ad")
    >>> cells = uc.atlas.read_precomputed("ima.h5ad", species="human")
    >>> cells.shape, cells.obsm["X_uce"].shape, cells.uns["univerce"]["X_uce"]["model"]
    ((4, 0), (4, 6), 'uce-33l')
    """
    details: dict[str, Any] = {"stated_by": "the makers of the embedding", "source": str(path)}
    uns: dict[str, Any] = {}
    if obs is None:
        found = open_anndata(path, expression=True)
        values = found.X if found.X is not None and found.n_vars else found.obsm.get(use_rep)
        if values is None:
            raise ValueError(
                f"{str(path)!r} has neither an embedding in X nor obsm[{use_rep!r}]. Pass use_rep=, or obs= for an "
                "array of the CELLxGENE Census."
            )
        obs = found.obs
    else:
        values, about = read_census(path, obs)
        details |= about
    _check_values(values, str(path))
    known = None if species is None else resolve_species(species)
    if known is not None:
        uns["organism"] = known
    space = Space(model, stated_digest(model), () if known is None else (known,), {}, details)
    cells = ad.AnnData(obs=obs.set_axis(obs.index.astype(str)), obsm={use_rep: values}, uns=uns)
    space.write(cells, use_rep)
    return cells


def _check_values(values: Any, name: str) -> None:
    """Raise ``ValueError`` unless the first rows have the length of UCE embeddings, or none."""
    if hasattr(values, "group") or hasattr(values, "indptr") or values.ndim != 2:
        raise ValueError(f"{name!r} holds a sparse matrix, as of counts, and not an embedding.")
    rows = np.asarray(values[:_CHECKED_ROWS], dtype=np.float64)
    rows = rows[~np.isnan(rows).all(axis=1)]
    length = np.linalg.norm(rows, axis=1)
    if not np.isfinite(length).all() or (wrong := np.abs(length - 1) > _TOLERANCE).any():
        shown = "missing or infinite values" if not np.isfinite(length).all() else f"{length[wrong][0]:.4g}"
        raise ValueError(
            f"{name!r} holds no UCE embedding: its rows must have the length 1, and one has {shown}. Values that were "
            "scaled, projected or are counts are in no known space."
        )


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

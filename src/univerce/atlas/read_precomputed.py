"""Read embeddings that others computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import X_UCE
from univerce.atlas._census import read_census
from univerce.embeddings.space import Space, stated_digest
from univerce.genes.species import resolve_species
from univerce.io.files import open_anndata

_CHECKED_ROWS = 1000
_TOLERANCE = 0.02  # of the length of a row; published embeddings are rounded


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

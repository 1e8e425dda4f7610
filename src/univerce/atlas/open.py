"""Open an atlas."""

from __future__ import annotations

from pathlib import Path

import anndata as ad

from univerce._validate import as_path
from univerce.atlas._store import open_atlas


def open(path: Path | str, *, lazy: bool = True) -> ad.AnnData:  # noqa: A001
    """Open an atlas without reading its embedding.

    Parameters
    ----------
    path
        Directory of an atlas that :func:`univerce.atlas.build` wrote.
    lazy
        Keep the embedding on disk as a :class:`zarr.Array`, which ``uc.tl`` reads in blocks. ``atlas[rows]`` reads only
        those rows. Call ``to_memory()`` instead of ``copy()``.

    Returns
    -------
    AnnData ``[n_obs, 0]`` without expression: ``obs`` and ``uns`` in memory, the float16 embedding in
    ``obsm``. Changes are not written to disk.

    Raises
    ------
    FileNotFoundError
        If the atlas does not exist.
    ValueError
        If it is not an atlas.
    FileError
        If a file is missing or was changed. Chunks of the embedding are checked when they are read.

    Examples
    --------
    >>> import univerce as uc
    >>> pbmc = uc.datasets.pbmc68k_reduced()[:40]
    >>> _ = uc.atlas.build({"blood": pbmc}, "cells.zarr", groupby="cell_type")
    >>> atlas = uc.atlas.open("cells.zarr")
    >>> atlas.obsm["X_uce"][:2].shape
    (2, 128)
    >>> uc.tl.centroids(atlas, "cell_type", min_cells=1).obs["n_cells"].sum()
    np.int64(40)
    """
    atlas = open_atlas(as_path(path))
    return atlas if lazy else atlas.to_memory()

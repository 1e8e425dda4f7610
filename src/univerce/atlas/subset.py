"""Take a subset of an atlas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import ATLAS
from univerce._validate import as_path
from univerce.atlas._store import concat_obs, locked, new_atlas, new_path, open_atlas, require_atlas
from univerce.embeddings.cells import Cells


def subset(
    atlas: ad.AnnData | Path | str, where: str | pd.Series | np.ndarray, path: Path | str | None = None
) -> ad.AnnData:
    """Subset an atlas.

    Parameters
    ----------
    atlas
        The atlas of :func:`univerce.atlas.open`, or its path.
    where
        Cells to keep: an expression of the columns of ``obs`` for :meth:`pandas.DataFrame.query`, such as
        ``"tissue == 'lung' and species == 'human'"``, or ``[n_obs]`` booleans.
    path
        Directory to write; ``None`` returns the cells in memory.

    Returns
    -------
    The cells in their order: in memory, or on disk as :func:`univerce.atlas.open` opens them, with ``obs``, the
    embedding and ``uns``. ``uns["univerce_atlas"]["data_sets"]["n_kept"]`` is updated, data sets without cells are
    removed, and ``where`` is appended to ``uns["univerce_atlas"]["selections"]``.

    Raises
    ------
    ValueError
        If no cell is selected, ``atlas`` is not an atlas, or the booleans do not fit its cells.
    KeyError
        If an expression names a column that does not exist.
    FileExistsError
        If ``path`` exists.
    FileNotFoundError
        If the atlas does not exist.
    TimeoutError
        If another process writes to ``path``.

    Examples
    --------
    >>> import univerce as uc
    >>> pbmc = uc.datasets.pbmc68k_reduced()[:40]
    >>> atlas = uc.atlas.build({"blood": pbmc}, "whole.zarr", groupby="cell_type")
    >>> b_cells = uc.atlas.subset(atlas, "cell_type == 'CD19+ B'")
    >>> b_cells.n_obs, b_cells.obsm["X_uce"].shape
    (4, (4, 128))
    """
    whole = atlas if isinstance(atlas, ad.AnnData) else open_atlas(as_path(atlas))
    name = "atlas" if isinstance(atlas, ad.AnnData) else repr(str(atlas))
    provenance = require_atlas(whole, name)
    use_rep = str(provenance["use_rep"])
    rows = np.flatnonzero(_chosen(whole.obs, where))
    if len(rows) == 0:
        raise ValueError(f"where={where if isinstance(where, str) else 'the booleans'!r} chooses no cell of {name}.")
    uns = {**whole.uns, ATLAS: _narrow(provenance, whole.obs.iloc[rows], where)}
    cells = Cells.read(whole, use_rep, name=name)
    if path is None:
        values = cells.rows(rows, cells.values.dtype)
        return ad.AnnData(obs=concat_obs([whole.obs.iloc[rows]]), obsm={use_rep: values}, uns=uns)
    path = as_path(path)
    with locked(path):
        new_path(path)
        with new_atlas(path, use_rep) as writer:
            writer.copy(cells.values, whole.obs, rows)
            writer.finish(uns)
    return open_atlas(path)


def _chosen(obs: pd.DataFrame, where: Any) -> np.ndarray:
    """``[n_obs]`` booleans."""
    if isinstance(where, str):
        try:
            where = obs.eval(where, engine="python")
        except pd.errors.UndefinedVariableError as error:
            available = ", ".join(map(repr, obs.columns))
            raise KeyError(f"where={where!r}: {error}; the columns of obs are: {available}.") from error
    if isinstance(where, pd.Series) and not where.index.equals(obs.index):
        raise ValueError("The booleans in where= are for other cells: their index is not obs_names of the atlas.")
    chosen = np.asarray(where)
    if chosen.dtype != bool or chosen.shape != (len(obs),):
        raise ValueError(
            f"where= must be {len(obs):,} booleans, one for each cell, not {chosen.dtype} of shape {chosen.shape}."
        )
    return chosen


def _narrow(provenance: Mapping[str, Any], obs: pd.DataFrame, where: Any) -> dict[str, Any]:
    """Provenance of the remaining cells."""
    sets = provenance["data_sets"].copy()
    sets["n_kept"] = obs["data_set"].astype(str).value_counts().reindex(sets.index, fill_value=0).to_numpy()
    what = where if isinstance(where, str) else f"booleans: {len(obs)} cells"
    earlier = [str(each) for each in np.atleast_1d(provenance.get("selections", []))]
    return {**provenance, "data_sets": sets[sets["n_kept"] > 0], "selections": np.array([*earlier, what], dtype=object)}

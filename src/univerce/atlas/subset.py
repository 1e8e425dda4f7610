"""Choose cells of an atlas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from univerce.atlas._store import concat_obs, locked, new_atlas, new_path, open_atlas, require_atlas
from univerce.embeddings.cells import gather


def subset(
    atlas: ad.AnnData | Path | str,
    where: str | pd.Series | np.ndarray,
    path: Path | str | None = None,
    *,
    wait: float = 0.0,
) -> ad.AnnData:
    """Some cells of an atlas, as an atlas.

    Parameters
    ----------
    atlas
        The atlas, or its path.
    where
        Which cells: an expression of the columns of ``obs`` for :meth:`pandas.DataFrame.query`, such as
        ``"tissue == 'lung' and species == 'human'"``, or ``[n_obs]`` booleans.
    path
        Directory to write; ``None`` returns the cells in memory.
    wait
        Seconds to wait for another process that writes to ``path``.

    Returns
    -------
    The cells in their order: in memory, or on disk as :func:`univerce.atlas.open` opens them. ``obs``, the embedding
    and ``uns`` are kept; ``uns["atlas"]["data_sets"]["n_kept"]`` counts anew, without the data sets that are gone, and
    ``uns["atlas"]["selections"]`` says what was asked for.

    Raises
    ------
    ValueError
        When no cell is chosen, ``atlas`` is none, or the booleans do not fit its cells.
    KeyError
        When an expression names a column that is not there.
    FileExistsError
        When there is something at ``path``.
    FileNotFoundError
        When there is no atlas.
    TimeoutError
        When another process writes to ``path``.

    Examples
    --------
    >>> import univerce as uc
    >>> pbmc = uc.datasets.pbmc68k_reduced()[:40]
    >>> atlas = uc.atlas.build({"blood": pbmc}, "whole.zarr", labels="cell_type")
    >>> b_cells = uc.atlas.subset(atlas, "cell_type == 'CD19+ B'")
    >>> b_cells.n_obs, b_cells.obsm["X_uce"].shape
    (4, (4, 256))
    """
    whole = atlas if isinstance(atlas, ad.AnnData) else open_atlas(Path(atlas))
    called = "atlas" if isinstance(atlas, ad.AnnData) else repr(str(atlas))
    provenance = require_atlas(whole, called)
    use_rep = str(provenance["use_rep"])
    rows = np.flatnonzero(_chosen(whole.obs, where))
    if len(rows) == 0:
        raise ValueError(
            f"No cell of {called} is chosen by where={where if isinstance(where, str) else 'the booleans'!r}."
        )
    uns = {**whole.uns, "atlas": _narrow(provenance, whole.obs.iloc[rows], where)}
    rep = whole.obsm[use_rep]
    if path is None:
        values = gather(rep, rows).astype(rep.dtype)
        return ad.AnnData(obs=concat_obs([whole.obs.iloc[rows]]), obsm={use_rep: values}, uns=uns)
    path = Path(path)
    with locked(path, wait):
        new_path(path)
        with new_atlas(path, use_rep) as writer:
            writer.copy(rep, whole.obs, rows)
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
        raise ValueError("The booleans in where= belong to other cells: their index is not obs_names of the atlas.")
    chosen = np.asarray(where)
    if chosen.dtype != bool or chosen.shape != (len(obs),):
        raise ValueError(
            f"where= must choose among {len(obs):,} cells by booleans, not by {chosen.dtype} of shape {chosen.shape}."
        )
    return chosen


def _narrow(provenance: Mapping[str, Any], obs: pd.DataFrame, where: Any) -> dict[str, Any]:
    """Provenance of the cells that are left."""
    sets = provenance["data_sets"].copy()
    sets["n_kept"] = obs["data_set"].astype(str).value_counts().reindex(sets.index, fill_value=0).to_numpy()
    what = where if isinstance(where, str) else f"booleans: {len(obs)} cells"
    earlier = [str(each) for each in np.atleast_1d(provenance.get("selections", []))]
    return {**provenance, "data_sets": sets[sets["n_kept"] > 0], "selections": np.array([*earlier, what], dtype=object)}

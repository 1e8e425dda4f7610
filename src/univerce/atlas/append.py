"""Append data sets to an atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from univerce._keys import ATLAS, RECORDS
from univerce._validate import as_path
from univerce.atlas._collect import add_sources, check_sources, coarse_table
from univerce.atlas._options import Column, Data, Options, as_sources
from univerce.atlas._store import locked, new_atlas, open_atlas, require_atlas
from univerce.embeddings.cells import Cells


def append(
    path: Path | str,
    data: Data | Sequence[Data] | Mapping[str, Data],
    *,
    groupby: Column,
    obs_keys: Sequence[str] | Mapping[str, Column] = (),
    coarse_map: Mapping[str, str] | None = None,
    model: str | Path | None = "uce-mini",
    species: Column = None,
    layer: str | None = None,
    gene_key: str | None = None,
    max_cells_per_dataset: int | None = 10_000,
    min_counts: int | None = 200,
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
) -> ad.AnnData:
    """Append data sets to an atlas.

    The new atlas is written next to the old one and then replaces it, so the disk needs space for both. Processes that
    have the atlas open keep reading the same cells, whose rows do not change. In addition to the errors below, those of
    :func:`univerce.atlas.build` are raised.

    Parameters
    ----------
    path
        Directory of an atlas that :func:`univerce.atlas.build` wrote.
    data, groupby, obs_keys, model, species, layer, gene_key, max_cells_per_dataset, min_counts, rng
        As for :func:`univerce.atlas.build`. The key of the embedding is that of the atlas. The names of the data sets
        must be new.
    coarse_map
        As for :func:`univerce.atlas.build`; ``None`` takes that of the atlas, if any.
    check_space
        As for :func:`univerce.atlas.build`. With ``False``, the atlas no longer records a space.

    Returns
    -------
    The atlas as :func:`univerce.atlas.open` opens it. Columns of ``obs`` that only the old or the new cells have are
    NaN for the others.

    Raises
    ------
    ValueError
        If ``path`` is not an atlas, already has a data set of that name, or is in another space.
    FileNotFoundError
        If the atlas does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> pbmc = uc.datasets.pbmc68k_reduced()
    >>> uc.atlas.build({"first": pbmc[:30]}, "growing.zarr", groupby="cell_type").n_obs
    30
    >>> uc.atlas.append("growing.zarr", {"second": pbmc[30:50]}, groupby="cell_type").n_obs
    50
    """
    path, sources = as_path(path), as_sources(data)
    open_atlas(path)
    with locked(path):
        atlas = open_atlas(path)
        provenance = require_atlas(atlas, repr(str(path)))
        use_rep, recorded = str(provenance["use_rep"]), provenance["data_sets"]
        if there := [source.key for source in sources if source.key in recorded.index]:
            raise ValueError(
                f"The atlas {str(path)!r} already has a data set {there[0]!r}; pass a mapping to give the new one "
                "another name."
            )
        if coarse_map is None and "coarse_map" in provenance:
            coarse_map = dict(zip(*(provenance["coarse_map"][c] for c in ("cell_type", "coarse_type")), strict=True))
        options = Options.resolve(
            sources, groupby=groupby, obs_keys=obs_keys, rng=rng, use_rep=use_rep, species=species, model=model,
            layer=layer, gene_key=gene_key, max_cells=max_cells_per_dataset, min_counts=min_counts,
            coarse_map=coarse_map, check_space=check_space,
        )  # fmt: skip
        cells = Cells.read(atlas, use_rep, name="atlas")
        cells.check_comparable(cells, check_space=check_space)  # the space must be recorded
        check_sources(sources, options, cells.info)
        with new_atlas(path, use_rep) as writer:
            writer.copy(cells.values, atlas.obs)
            records, space = add_sources(writer, sources, options, cells.info)
            uns = {key: value for key, value in atlas.uns.items() if key != RECORDS} | space
            uns[ATLAS] = {**provenance, **coarse_table(coarse_map), "data_sets": pd.concat([recorded, records])}
            writer.finish(uns)
    return open_atlas(path)

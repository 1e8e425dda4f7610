"""Add data sets to an atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from univerce.atlas._fill import check_sources, coarse_table, fill
from univerce.atlas._recipe import Column, Data, Recipe, as_sources
from univerce.atlas._space import ATLAS, Space
from univerce.atlas._store import locked, new_atlas, open_atlas, require_atlas


def append(
    path: Path | str,
    data: Data | Sequence[Data] | Mapping[str, Data],
    *,
    labels: Column,
    model: str | Path | None = "uce-mini",
    species: Column = None,
    layer: str | None = None,
    gene_key: str | None = None,
    max_cells_per_dataset: int | None = 10_000,
    min_counts: int | None = 200,
    coarse_map: Mapping[str, str] | None = None,
    tissue: Column = None,
    donor: Column = None,
    ontology_id: Column = None,
    rng: int | np.random.Generator = 0,
    check_space: bool = True,
    wait: float = 0.0,
) -> ad.AnnData:
    """Add data sets to an atlas, after the cells that are there.

    The atlas is written anew beside the old one and takes its place when it is complete, so the disk must have room for
    both. Whoever has the atlas open goes on reading the same cells, whose rows stay.

    Parameters
    ----------
    path
        The atlas, as :func:`univerce.atlas.build` made it.
    data, labels, model, species, layer, gene_key, max_cells_per_dataset, min_counts, tissue, donor, ontology_id
        As for :func:`univerce.atlas.build`. The key of the embedding is that of the atlas. The names of the data sets
        must be new to it.
    coarse_map
        As for :func:`univerce.atlas.build`; ``None`` takes the one the atlas was built with, if any.
    rng, check_space, wait
        As for :func:`univerce.atlas.build`. With ``check_space=False`` the atlas need not say what its space is,
        and does not say so afterwards.

    Returns
    -------
    The atlas as :func:`univerce.atlas.open` opens it. Columns of ``obs`` that only old or only new cells have are NaN
    for the others.

    Raises
    ------
    ValueError
        When ``path`` is no atlas, a data set is in it already or lies in another space, and as
        :func:`univerce.atlas.build` does.
    KeyError
        When a column is missing, or an embedding that may not be computed.
    FileNotFoundError
        When there is no atlas, or a data set is not where its path says.
    TimeoutError
        When another process writes the atlas.
    TypeError
        When a data set is neither AnnData nor path.

    Examples
    --------
    >>> import univerce as uc
    >>> pbmc = uc.datasets.pbmc68k_reduced()
    >>> options = {"labels": "cell_type"}
    >>> uc.atlas.build({"first": pbmc[:30]}, "growing.zarr", **options).n_obs
    30
    >>> uc.atlas.append("growing.zarr", {"second": pbmc[30:50]}, **options).n_obs
    50
    """
    path, sources = Path(path), as_sources(data)
    open_atlas(path)
    with locked(path, wait):
        atlas = open_atlas(path)
        provenance = require_atlas(atlas, repr(str(path)))
        use_rep, recorded = str(provenance["use_rep"]), provenance["data_sets"]
        if there := [source.name for source in sources if source.name in recorded.index]:
            raise ValueError(
                f"The atlas {str(path)!r} has the data set {there[0]!r} already; pass a mapping to give the new one "
                "another name."
            )
        if coarse_map is None and "coarse_map" in provenance:
            coarse_map = dict(zip(*(provenance["coarse_map"][c] for c in ("cell_type", "coarse_type")), strict=True))
        recipe = Recipe.resolve(
            sources, labels=labels, tissue=tissue, donor=donor, ontology_id=ontology_id, rng=rng,
            use_rep=use_rep, species=species, model=model, layer=layer, gene_key=gene_key, min_counts=min_counts,
            max_cells=max_cells_per_dataset, coarse_map=coarse_map, check_space=check_space,
        )  # fmt: skip
        rep = atlas.obsm[use_rep]
        checked, space = (Space(use_rep, check=check_space) for _ in range(2))
        for each in (checked, space):
            each.enter(ATLAS, rep.shape[1], atlas.uns.get(use_rep))
        check_sources(sources, recipe, checked)
        with new_atlas(path, use_rep) as writer:
            writer.copy(rep, atlas.obs)
            records = fill(writer, sources, recipe, space)
            uns = {key: value for key, value in atlas.uns.items() if key != use_rep} | space.uns
            uns["atlas"] = {**provenance, **coarse_table(recipe), "data_sets": pd.concat([recorded, records])}
            writer.finish(uns)
    return open_atlas(path)

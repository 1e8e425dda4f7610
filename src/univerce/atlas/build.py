"""Build an atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import anndata as ad
import numpy as np

from univerce._keys import ATLAS, X_UCE
from univerce._validate import as_path
from univerce._version import __version__
from univerce.atlas._collect import add_sources, check_sources, coarse_table
from univerce.atlas._options import Column, Data, Options, as_sources
from univerce.atlas._store import FORMAT, locked, new_atlas, new_path, open_atlas


def build(
    data: Data | Sequence[Data] | Mapping[str, Data],
    path: Path | str,
    *,
    groupby: Column,
    obs_keys: Sequence[str] | Mapping[str, Column] = (),
    coarse_map: Mapping[str, str] | None = None,
    use_rep: str = X_UCE,
    model: str | Path | None = "uce-mini",
    species: Column = None,
    layer: str | None = None,
    gene_key: str | None = None,
    max_cells_per_dataset: int | None = 10_000,
    min_counts: int | None = 200,
    check_space: bool = True,
    rng: int | np.random.Generator = 0,
) -> ad.AnnData:
    """Build an atlas from many data sets: the embedding and annotation of a subsample of their cells.

    An atlas is an AnnData on disk without expression. It can be the reference of a search, of a label transfer or of a
    comparison of centroids. As in Rosen et al. 2026, cells with few counts are left out and at most 10,000 cells of a
    data set are kept, chosen by the hash of the seed and their names. The paper also leaves out genes in fewer than 10
    cells. This is not done here, because the embedding of a cell would depend on the other cells.

    The chosen cells of data sets without ``obsm[use_rep]`` are embedded, with one data set in memory at a time. All
    inputs are checked first, and ``path`` appears only once the atlas is complete. If this takes many hours, build the
    atlas from some of the data sets and add the others with :func:`univerce.atlas.append`.

    Parameters
    ----------
    data
        AnnData, or paths of ``.h5ad`` or ``.zarr``, as a mapping from the names of the data sets. In a sequence, files
        are named by their stem, and AnnData ``data_0``, ``data_1``, ...
    path
        Directory to write, such as ``"atlas.zarr"``.
    groupby
        Column of ``obs`` with the cell types. If data sets differ, a mapping from their names to columns, with ``None``
        for one without labels. ``None`` if no data set has any.
    obs_keys
        Further columns of ``obs`` to keep. If the names differ, a mapping from the column of the atlas to the column of
        ``obs``, or to a mapping as for ``groupby``.
    coarse_map
        Mapping from cell types to coarser ones. Types that it does not contain have no coarse type and are logged.
    use_rep
        Key of the embedding in ``obsm``, in the data sets and in the atlas.
    model
        Model for data sets without an embedding, see :func:`univerce.tl.uce_embed`; ``None`` computes none.
    species
        Species of the cells, its column of ``obs``, or a mapping as for ``groupby``; ``None`` takes that of the data.
    layer
        Layer with the counts; ``None`` is ``X``.
    gene_key
        Column of ``var`` with the gene names; ``None`` is ``var_names``.
    max_cells_per_dataset
        Maximum number of cells per data set; ``None`` keeps all.
    min_counts
        Cells with fewer counts are left out; ``None`` keeps them. Not applied to data sets with an embedding and
        without counts, which is logged and recorded in ``uns``.
    check_space
        Check that all embeddings come from the same model. ``False`` is for embeddings of other methods, which every
        data set must already have.
    rng
        Seed or generator of the subsample and the embedding.

    Returns
    -------
    The atlas as :func:`univerce.atlas.open` opens it:

    ``obsm[use_rep]``
        ``[n_obs, n_dims]`` float16. Cells without an embedding are left out.
    ``obs``
        ``data_set``, ``obs_name`` and ``row`` (of the cell in its data set), ``cell_type``, ``obs_keys``, ``species``
        and ``coarse_type``; NaN if missing.
    ``uns["univerce_atlas"]["data_sets"]``
        A row for each data set: its source, the numbers of cells left out and kept, and the model of its embedding.
    ``uns["univerce"][use_rep]``
        The space: model, digests of model and gene tables, species.

    Raises
    ------
    ValueError
        If no cell is left, two data sets have the same name, spaces differ, a data set has no cells or neither
        embedding nor counts, or an option is out of range.
    KeyError
        If a column is missing, or an embedding is missing and may not be computed.
    FileExistsError
        If ``path`` exists.
    FileNotFoundError
        If a data set does not exist.
    TimeoutError
        If another process writes the atlas.
    TypeError
        If a data set is neither AnnData nor path.

    Examples
    --------
    >>> import univerce as uc
    >>> pbmc = uc.datasets.pbmc68k_reduced()
    >>> data = {"first": pbmc[:100], "second": pbmc[100:300]}
    >>> atlas = uc.atlas.build(data, "blood.zarr", groupby="cell_type", max_cells_per_dataset=50)
    >>> atlas.obs["data_set"].value_counts().to_dict()
    {'first': 50, 'second': 50}
    >>> str(atlas.obsm["X_uce"].dtype), atlas.obsm["X_uce"].shape
    ('float16', (100, 128))
    """
    path, sources = as_path(path), as_sources(data)
    options = Options.resolve(
        sources, groupby=groupby, obs_keys=obs_keys, rng=rng, use_rep=use_rep, species=species, model=model,
        layer=layer, gene_key=gene_key, max_cells=max_cells_per_dataset, min_counts=min_counts, coarse_map=coarse_map,
        check_space=check_space,
    )  # fmt: skip
    with locked(path):
        new_path(path)
        check_sources(sources, options, None)
        with new_atlas(path, use_rep) as writer:
            records, space = add_sources(writer, sources, options, None)
            provenance = {"format": FORMAT, "use_rep": use_rep, "univerce_version": __version__, "data_sets": records}
            writer.finish({ATLAS: provenance | coarse_table(coarse_map)} | space)
    return open_atlas(path)

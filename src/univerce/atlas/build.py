"""Make an atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import anndata as ad
import numpy as np

from univerce._keys import X_UCE
from univerce._version import __version__
from univerce.atlas._fill import check_sources, coarse_table, fill
from univerce.atlas._recipe import Column, Data, Recipe, as_sources
from univerce.atlas._space import Space
from univerce.atlas._store import FORMAT, locked, new_atlas, new_path, open_atlas


def build(
    data: Data | Sequence[Data] | Mapping[str, Data],
    path: Path | str,
    *,
    labels: Column,
    use_rep: str = X_UCE,
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
    """Make an atlas of many data sets: a sample of the cells of each, their embedding, and what is known of them.

    An atlas is an AnnData on disk without expression: what a search, a label transfer or a comparison of centroids
    needs of its reference. As in Rosen et al. 2024, cells with few counts are left out and at most 10,000 cells of a
    data set are kept, which cells is decided by the hash of the seed and their names alone. The paper also leaves out
    genes in fewer than 10 cells; that is not repeated here, because it changes nothing but the embedding, and would
    make the embedding of a cell depend on the other cells of its file.

    A data set without ``obsm[use_rep]`` is embedded, its chosen cells only. The data sets are read one after the other;
    one at a time is in memory, and of a file only the chosen cells are. Everything is checked before anything is
    computed, and nothing is at ``path`` until the atlas is complete. For work of many hours, build the atlas of some
    data sets and :func:`univerce.atlas.append` the others: what is there is safe.

    Parameters
    ----------
    data
        AnnData, or paths of ``.h5ad`` or ``.zarr``, as a mapping from the names of the data sets. In a sequence, files
        are named by their stem, and AnnData ``data_0`` and so on by their place.
    path
        Directory to write, such as ``"atlas.zarr"``.
    labels
        Column of ``obs`` with the cell types; a mapping from the names of the data sets to columns when they differ,
        with ``None`` for one without labels; ``None`` when no data set has any.
    use_rep
        Key of the embedding in ``obsm``, in the data sets and in the atlas.
    model
        Model for the data sets that are not embedded, see :func:`univerce.tl.uce_embed`; ``None`` computes none.
    species
        Species of the cells, or the column of ``obs`` that holds it, or a mapping as for ``labels``; ``None`` takes
        what is stated in the data, see :func:`univerce.tl.uce_embed`.
    layer
        Layer with the counts; ``None`` is ``X``.
    gene_key
        Column of ``var`` with the gene names; ``None`` is ``var_names``.
    max_cells_per_dataset
        Size of the sample of each data set; ``None`` keeps all cells.
    min_counts
        Cells with fewer counts are left out; ``None`` keeps them. It is not applied to a data set that is embedded and
        has no counts, which the log and ``uns`` say.
    coarse_map
        From cell types to coarser ones. Types that it lacks have no coarse type; the log names them.
    tissue, donor, ontology_id
        Columns of ``obs``, or mappings as for ``labels``.
    rng
        Seed of the sample and of the embedding, or a generator that is drawn from once.
    check_space
        Demand that all data sets lie in one space, see :func:`univerce.tl.check_same_space`. With False every data set
        must bring its embedding, and you know that one method made them all.
    wait
        Seconds to wait for another process that writes the same atlas.

    Returns
    -------
    The atlas as :func:`univerce.atlas.open` opens it:

    ``obsm[use_rep]``
        ``[n_obs, n_dims]`` float16. Cells without an embedding are not in the atlas.
    ``obs``
        ``data_set``, ``obs_name`` and ``row`` (of the cell in its data set), ``species``; ``cell_type``, ``tissue``,
        ``donor``, ``ontology_id`` and ``coarse_type`` when they are asked for. Missing is NaN.
    ``uns["atlas"]["data_sets"]``
        A row for each data set: its source, what was left out and kept, and the model that made its embedding.
    ``uns[use_rep]["params"]``
        The space: model, digests of model and gene tables, species.

    Raises
    ------
    ValueError
        When no cell is left, two data sets have one name, spaces differ, a data set has no cells or neither embedding
        nor counts, or an option makes no sense.
    KeyError
        When a column is missing, or an embedding that may not be computed.
    FileExistsError
        When there is something at ``path``.
    FileNotFoundError
        When a data set is not where its path says.
    TimeoutError
        When another process writes the atlas.
    TypeError
        When a data set is neither AnnData nor path.

    Examples
    --------
    >>> import univerce as uc
    >>> pbmc = uc.datasets.pbmc68k_reduced()
    >>> data = {"first": pbmc[:100], "second": pbmc[100:300]}
    >>> atlas = uc.atlas.build(data, "blood.zarr", labels="cell_type", max_cells_per_dataset=50)
    >>> atlas.obs["data_set"].value_counts().to_dict()
    {'first': 50, 'second': 50}
    >>> str(atlas.obsm["X_uce"].dtype), atlas.obsm["X_uce"].shape
    ('float16', (100, 256))
    """
    path, sources = Path(path), as_sources(data)
    recipe = Recipe.resolve(
        sources, labels=labels, tissue=tissue, donor=donor, ontology_id=ontology_id, rng=rng,
        use_rep=use_rep, species=species, model=model, layer=layer, gene_key=gene_key, max_cells=max_cells_per_dataset,
        min_counts=min_counts, coarse_map=coarse_map, check_space=check_space,
    )  # fmt: skip
    with locked(path, wait):
        new_path(path)
        check_sources(sources, recipe, Space(use_rep, check=check_space))
        space = Space(use_rep, check=check_space)
        with new_atlas(path, use_rep) as writer:
            records = fill(writer, sources, recipe, space)
            provenance = {"format": FORMAT, "use_rep": use_rep, "univerce_version": __version__, "data_sets": records}
            writer.finish({"atlas": provenance | coarse_table(recipe)} | space.uns)
    return open_atlas(path)

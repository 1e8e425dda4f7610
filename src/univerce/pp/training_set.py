"""A data set to train on, from an AnnData or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad

from univerce._validate import get_counts, get_modality
from univerce.genes.load import BUNDLED_MODEL, available_species
from univerce.genes.resolve import resolve_genes
from univerce.genes.species_of import SpeciesLike, species_of
from univerce.io.files import open_anndata
from univerce.training.training_set import TrainingSet

if TYPE_CHECKING:
    from mudata import MuData


def training_set(
    adata: ad.AnnData | MuData | Path | str,
    *,
    name: str | None = None,
    species: SpeciesLike = None,
    model: str | Path = BUNDLED_MODEL,
    mod: str | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
) -> TrainingSet:
    """Find the genes of a data set for :func:`univerce.model.pretrain`.

    Parameters
    ----------
    adata
        Data with raw counts, or the path of an ``.h5ad`` or ``.zarr``, whose counts stay on disk: training reads them
        in blocks. Store them as CSR; a CSC matrix on disk is read whole for every block.
    name
        Name of the data set; that of the file by default.
    species
        As in :func:`univerce.pp.map_genes`; all cells must be of one species.
    model
        Model whose gene tables are used: a name or a directory.
    mod, layer, gene_key
        As in :func:`univerce.pp.map_genes`.

    Returns
    -------
    The counts with the row of the gene table of every variable.

    Raises
    ------
    ValueError
        If an AnnData is given without a name, the file is not an AnnData, or the cells are of several species; and as
        in :func:`univerce.pp.map_genes`.
    FileNotFoundError
        If the file does not exist.
    KeyError
        If the layer or the column of ``var`` does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.pp.training_set(uc.datasets.pbmc68k_reduced(), name="blood", species="human")
    >>> cells.name, cells.counts.shape, int((cells.rows >= 0).sum())
    ('blood', (700, 765), 740)
    """
    data: Any
    if isinstance(adata, Path | str):
        data, name = open_anndata(adata, expression=True), name or Path(adata).stem
    elif name is None:
        raise ValueError("An AnnData in memory needs a name; pass name=.")
    else:
        data = get_modality(adata, mod)
    if 0 in data.shape:
        raise ValueError(f"The data set {name!r} is empty: {data.n_obs} cells and {data.n_vars} variables.")
    within = None if isinstance(adata, Path | str) else adata
    counts, _ = get_counts(data, layer)
    key, tables = species_of(data, species, known=available_species(model), within=within)
    if not isinstance(key, str):
        raise ValueError(
            f"The cells of the data set {name!r} are of several species ({', '.join(map(str, key.categories))}); pass "
            "one data set of each."
        )
    found = resolve_genes(data, key, model, layer=layer, gene_key=gene_key, tables=tables)[key]
    return TrainingSet(name, counts, found.rows, found.table)

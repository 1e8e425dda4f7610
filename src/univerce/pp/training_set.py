"""Read a data set to train on from an AnnData or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
from anndata.io import read_elem

from univerce._validate import get_layer
from univerce.genes.load import BUNDLED_MODEL, available_species
from univerce.genes.resolve import resolve_genes
from univerce.genes.species_of import SpeciesLike, species_of
from univerce.training.corpus import TrainingSet
from univerce.training.window import OnDisk, open_store


def training_set(
    adata: ad.AnnData | Path | str,
    *,
    name: str | None = None,
    species: SpeciesLike = None,
    model: str | Path = BUNDLED_MODEL,
    layer: str | None = None,
    gene_key: str | None = None,
) -> TrainingSet:
    """Map the genes of a data set for :func:`univerce.model.pretrain`.

    Parameters
    ----------
    adata
        AnnData with raw counts, or the path of an ``.h5ad`` or ``.zarr``, whose counts stay on disk and are read in
        blocks. Store them as CSR; a CSC matrix on disk is read whole for every block.
    name
        Name of the data set; that of the file by default.
    species
        As in :func:`univerce.pp.map_genes`; all cells must be of one.
    model
        Model with the gene tables: a name or a directory.
    layer, gene_key
        As in :func:`univerce.pp.map_genes`.

    Returns
    -------
    The counts with the row of the gene table behind every variable.

    Raises
    ------
    ValueError
        If an AnnData has no name, the file is neither an ``.h5ad`` nor a ``.zarr``, the cells are of several species,
        or as in :func:`univerce.pp.map_genes`.
    FileNotFoundError
        If the file does not exist.
    KeyError
        If the layer or the column of ``var`` does not exist.

    Examples
    --------
    >>> import univerce as uc
    >>> cells = uc.pp.training_set(uc.datasets.pbmc68k_reduced(), name="blood", species="human")
    >>> cells.name, cells.counts.shape, int((cells.rows >= 0).sum())
    ('blood', (700, 765), 690)
    """
    if isinstance(adata, ad.AnnData):
        if name is None:
            raise ValueError("An AnnData has no name; pass name=.")
        data, counts = adata, adata if adata.isbacked and adata.is_view and layer is None else get_layer(adata, layer)
    else:
        counts = _on_disk(Path(adata), layer)
        data = _without_counts(counts)
        name, layer = name or Path(adata).stem, None
    if 0 in data.shape:
        raise ValueError(f"The data set {name!r} is empty: {data.n_obs} cells and {data.n_vars} variables.")
    key, tables = species_of(data, species, known=available_species(model))
    if not isinstance(key, str):
        raise ValueError(
            f"The cells of the data set {name!r} are of several species ({', '.join(map(str, key.categories))}); make "
            "one data set of each."
        )
    found = resolve_genes(data, key, model, layer=layer, gene_key=gene_key, tables=tables)[key]
    return TrainingSet(name, counts, found.rows, found.table)


def _on_disk(path: Path, layer: str | None) -> OnDisk:
    if path.suffix not in (".h5ad", ".zarr"):
        raise ValueError(f"{path} must end in .h5ad or .zarr.")
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}.")
    return OnDisk(path, "X" if layer in (None, "X") else f"layers/{layer}")


def _without_counts(counts: OnDisk) -> ad.AnnData:
    """Names and annotation of a file, and its counts where they are."""
    store: Any = open_store(counts.path)
    X = counts.open()
    uns = read_elem(store["uns"]) if "uns" in store else {}
    return ad.AnnData(X, obs=read_elem(store["obs"]), var=read_elem(store["var"]), uns=uns)

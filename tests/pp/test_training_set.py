"""Data sets to train on: the same from memory and from files, in which the counts stay."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import zarr

import univerce as uc
from tests.helpers.tiny import tiny_cells, tiny_table
from univerce.genes.table import gene_table_info
from univerce.training.window import OnDisk, open_counts

CELLS = tiny_cells("human", 12)


def write(path: Path, adata: ad.AnnData) -> Path:
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
    else:
        ad.io.write_elem(zarr.open_group(path, mode="w", zarr_format=2), "/", adata)
    return path


def test_an_anndata_becomes_a_training_set(tiny_model):
    s = uc.pp.training_set(CELLS, name="cells", model=tiny_model)
    assert (s.name, gene_table_info(s.table)["species"]) == ("cells", "human")
    assert s.table.obs["symbol"].to_numpy()[s.rows[:-1]].tolist() == CELLS.var_names[:-1].tolist()
    assert s.rows[-1] == -1  # no gene
    np.testing.assert_array_equal(open_counts(s.counts).toarray(), CELLS.X.toarray())


@pytest.mark.parametrize("layer", [None, "counts"])
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("kind", [sp.csr_matrix, np.asarray], ids=["sparse", "dense"])
def test_the_counts_of_a_file_stay_there(tmp_path, tiny_model, suffix, layer, kind):
    adata = CELLS.copy()
    adata.X = kind(CELLS.X.toarray())
    if layer:
        adata.layers["counts"] = adata.X
        adata.X = adata.X * 0.5
    path = write(tmp_path / f"file.{suffix}", adata)
    s = uc.pp.training_set(path, model=tiny_model, layer=layer)
    memory = uc.pp.training_set(adata, name="file", model=tiny_model, layer=layer)
    assert s.name == "file"
    assert s.counts == OnDisk(path, "layers/counts" if layer else "X")
    np.testing.assert_array_equal(s.rows, memory.rows)
    assert not isinstance(open_counts(s.counts), sp.csr_matrix)
    assert s.counts.shape == CELLS.shape


def test_a_view_of_a_backed_file_is_read_block_by_block(tmp_path, tiny_model):
    backed = ad.read_h5ad(write(tmp_path / "file.h5ad", CELLS), backed="r")
    s = uc.pp.training_set(backed[3:9], name="some", model=tiny_model)
    assert isinstance(s.counts, ad.AnnData)
    assert s.counts.shape == (6, CELLS.n_vars)


def test_a_gene_table_of_its_own_goes_before_those_of_the_model():
    table = tiny_table("mouse", seed=5)
    s = uc.pp.training_set(tiny_cells("mouse", 6), name="cells", species=table)
    assert s.table is table


def test_names_and_species_are_found_as_elsewhere(tiny_model):
    adata = CELLS.copy()
    adata.var["name"] = adata.var_names
    adata.var_names = [f"v{i}" for i in range(adata.n_vars)]
    del adata.uns["organism"]
    s = uc.pp.training_set(adata, name="cells", species="Homo sapiens", gene_key="name", model=tiny_model)
    assert (s.rows >= 0).sum() == adata.n_vars - 1


@pytest.mark.parametrize(
    "change, arguments, error, message",
    [
        pytest.param(None, {"name": None}, ValueError, "An AnnData has no name; pass name=", id="no name"),
        pytest.param(lambda a: a[:0], {}, ValueError, "'cells' is empty: 0 cells", id="empty"),
        pytest.param(None, {"layer": "raw"}, KeyError, "layer='raw' is not in the AnnData", id="no layer"),
        pytest.param(None, {"gene_key": "id"}, KeyError, "gene_key='id' is not a column", id="no column"),
    ],
)
def test_what_is_no_training_set_is_refused(tiny_model, change, arguments, error, message):
    adata = CELLS if change is None else change(CELLS)
    with pytest.raises(error, match=message):
        uc.pp.training_set(adata, **({"name": "cells", "model": tiny_model} | arguments))


def test_cells_of_several_species_are_several_data_sets(tiny_model):
    adata = CELLS.copy()
    del adata.uns["organism"]
    adata.obs["organism"] = ["human", "mouse"] * 6
    with pytest.raises(ValueError, match=r"several species \(human, mouse\); make one data set of each"):
        uc.pp.training_set(adata, name="cells", model=tiny_model)


def test_a_path_must_be_a_file_with_counts(tmp_path, tiny_model):
    with pytest.raises(ValueError, match=r"must end in .h5ad or .zarr"):
        uc.pp.training_set(tmp_path / "cells.loom", model=tiny_model)
    with pytest.raises(FileNotFoundError, match="There is no"):
        uc.pp.training_set(tmp_path / "cells.h5ad", model=tiny_model)

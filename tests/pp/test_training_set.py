"""Training sets: the same from memory and from files, whose counts stay on disk."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from mudata import MuData

import univerce as uc
from tests.helpers.tiny import tiny_cells, tiny_table
from univerce.genes.table import gene_table_info, write_table

CELLS = tiny_cells("human", 12)


def write(path: Path, adata: ad.AnnData) -> Path:
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
    else:
        ad.io.write_elem(zarr.open_group(path, mode="w", zarr_format=2), "/", adata)
    return path


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, sp.csr_array, np.asarray])
def test_an_anndata_becomes_a_training_set(tiny_model, kind):
    adata = CELLS.copy()
    adata.X = kind(CELLS.X.toarray())
    s = uc.pp.training_set(adata, name="cells", model=tiny_model)
    assert (s.name, gene_table_info(s.table)["species"]) == ("cells", "human")
    assert s.table.obs["symbol"].to_numpy()[s.rows[:-1]].tolist() == CELLS.var_names[:-1].tolist()
    assert s.rows[-1] == -1  # not a gene
    assert isinstance(s.open(), sp.csr_matrix)
    np.testing.assert_array_equal(s.open().toarray(), CELLS.X.toarray())
    assert s.portable().counts is s.counts


@pytest.mark.parametrize("layer", [None, "counts"])
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("kind", [sp.csr_matrix, np.asarray], ids=["sparse", "dense"])
def test_the_counts_of_a_file_stay_there_and_another_process_can_open_them(tmp_path, tiny_model, suffix, layer, kind):
    adata = CELLS.copy()
    adata.X = kind(CELLS.X.toarray())
    if layer:
        adata.layers["counts"] = adata.X
        adata.X = adata.X * 0.5
    path = write(tmp_path / f"file.{suffix}", adata)
    s = uc.pp.training_set(path, model=tiny_model, layer=layer)
    memory = uc.pp.training_set(adata, name="file", model=tiny_model, layer=layer)
    assert s.name == "file"
    assert s.counts.shape == CELLS.shape
    np.testing.assert_array_equal(s.rows, memory.rows)
    assert not sp.issparse(s.open())
    sent = pickle.loads(pickle.dumps(s.portable()))
    counts = sent.open()[:]
    np.testing.assert_array_equal(counts.toarray() if sp.issparse(counts) else counts, CELLS.X.toarray())


def test_a_view_of_a_backed_file_is_read_block_by_block_and_cannot_be_sent(tmp_path, tiny_model):
    backed = ad.read_h5ad(write(tmp_path / "file.h5ad", CELLS), backed="r")
    s = uc.pp.training_set(backed[3:9], name="some", model=tiny_model)
    assert isinstance(s.counts, ad.AnnData)
    assert s.counts.shape == (6, CELLS.n_vars)
    with pytest.raises(ValueError, match=r"'some' is an open AnnData, which cannot be sent to other processes; write"):
        s.portable()


def test_species_may_be_a_gene_table(tmp_path):
    table = tiny_table("mouse", seed=5)
    cells = tiny_cells("mouse", 6)
    assert uc.pp.training_set(cells, name="cells", species=table).table is table
    write_table(table, tmp_path / "own.zarr.zip")
    read = uc.pp.training_set(cells, name="cells", species=str(tmp_path / "own.zarr.zip")).table
    assert gene_table_info(read)["digest"] == gene_table_info(table)["digest"]


def test_names_species_and_modality_are_found_as_elsewhere(tiny_model):
    adata = CELLS.copy()
    adata.var["name"] = adata.var_names
    adata.var_names = [f"v{i}" for i in range(adata.n_vars)]
    del adata.uns["organism"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MuData
        data = MuData({"rna": adata})
    s = uc.pp.training_set(data, name="cells", species="Homo sapiens", gene_key="name", mod="rna", model=tiny_model)
    assert (s.rows >= 0).sum() == adata.n_vars - 1


def several_species(adata: ad.AnnData) -> ad.AnnData:
    adata = adata.copy()
    del adata.uns["organism"]
    adata.obs["organism"] = ["human", "mouse"] * 6
    return adata


@pytest.mark.parametrize(
    "change, arguments, error, message",
    [
        pytest.param(None, {"name": None}, ValueError, "An AnnData in memory needs a name", id="no name"),
        pytest.param(lambda a: a[:0], {}, ValueError, "'cells' is empty: 0 cells", id="empty"),
        pytest.param(several_species, {}, ValueError, r"several species \(human, mouse\); pass one", id="several"),
        pytest.param(None, {"layer": "raw"}, KeyError, "layer='raw': adata.raw is empty", id="no layer"),
        pytest.param(None, {"gene_key": "id"}, KeyError, "gene_key='id' is not a column", id="no column"),
        pytest.param(lambda _: "x.h5ad", {}, FileNotFoundError, r"There is nothing at '.*x\.h5ad'", id="no file"),
        pytest.param(lambda _: __file__, {}, ValueError, "is not an AnnData", id="another file"),
    ],
)
def test_invalid_data_raise(tiny_model, change, arguments, error, message):
    adata = CELLS if change is None else change(CELLS)
    with pytest.raises(error, match=message):
        uc.pp.training_set(adata, **({"name": "cells", "model": tiny_model} | arguments))

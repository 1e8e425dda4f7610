"""Matrices that another process can open, and others."""

from __future__ import annotations

import pickle
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import zarr

from univerce.io.blocks import row_reader
from univerce.io.ondisk import OnDisk, stored

X = sp.random(11, 5, density=0.5, random_state=0, format="csr", dtype=np.float32)


@pytest.fixture
def directory(tmp_path, monkeypatch) -> Path:
    """An h5ad and a zarr with a CSR and a dense layer; the paths given are relative."""
    cells = ad.AnnData(X, layers={"dense": X.toarray(), "csc": X.tocsc()})
    cells.write_h5ad(tmp_path / "cells.h5ad")
    group = zarr.open_group(tmp_path / "cells.zarr", mode="w", zarr_format=2)
    ad.io.write_elem(group, "/", cells)
    zarr.consolidate_metadata(group.store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_h5ad(element: str):
    cells = ad.read_h5ad("cells.h5ad", backed="r")
    return cells.X if element == "X" else cells.file._file[element]


def of_zarr(element: str):
    node = zarr.open_group("cells.zarr", mode="r")[element]
    return ad.io.sparse_dataset(node) if element == "X" else node


def of_lazy(element: str, name: str):
    pytest.importorskip("xarray", reason="anndata reads lazily with xarray")
    cells = ad.experimental.read_lazy(name)
    return cells.X if element == "X" else cells.layers[element]


STORED = {
    "CSR of an h5ad": lambda: of_h5ad("X"),
    "dense of an h5ad": lambda: of_h5ad("layers/dense"),
    "CSR of a zarr": lambda: of_zarr("X"),
    "dense of a zarr": lambda: of_zarr("layers/dense"),
    "lazy CSR of an h5ad": lambda: of_lazy("X", "cells.h5ad"),
    "lazy dense of an h5ad": lambda: of_lazy("dense", "cells.h5ad"),
    "lazy CSR of a zarr": lambda: of_lazy("X", "cells.zarr"),
}


@pytest.mark.parametrize("matrix", STORED.values(), ids=STORED.keys())
def test_a_matrix_in_a_file_is_found_again_from_anywhere(directory, matrix, monkeypatch):
    on_disk = OnDisk.find(matrix())
    monkeypatch.chdir("/")
    found = pickle.loads(pickle.dumps(on_disk)).open()
    assert (row_reader(found, 4)(3, 9) != X[3:9]).nnz == 0


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param(lambda: X, id="in memory"),
        pytest.param(lambda: X.toarray(), id="dense in memory"),
        pytest.param(lambda: ad.io.sparse_dataset(ad.read_h5ad("cells.h5ad", backed="r").file["layers/csc"]), id="CSC"),
        pytest.param(lambda: zarr.array(X.toarray()), id="a zarr array in memory"),
        pytest.param(lambda: of_lazy("X", "cells.h5ad")[1:], id="rows of a lazy matrix"),
        pytest.param(lambda: of_lazy("X", "cells.h5ad") * 2, id="another matrix than the file's"),
        pytest.param(lambda: of_lazy("csc", "cells.h5ad"), id="lazy CSC"),
    ],
)
def test_other_matrices_are_not_on_disk(directory, matrix):
    assert OnDisk.find(matrix()) is None


def test_a_zarr_in_another_store_travels_as_an_array(tmp_path):
    with zarr.storage.ZipStore(tmp_path / "x.zip", mode="w") as store:
        zarr.create_array(store, data=X.toarray())
    on_disk = OnDisk.find(zarr.open_array(zarr.storage.ZipStore(tmp_path / "x.zip", mode="r")))
    assert not isinstance(on_disk.path, str)
    assert isinstance(hash(on_disk), int), "readers are kept by on_disk"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(on_disk)).open()[:], X.toarray())


@pytest.mark.parametrize("name", ["cells.h5ad", "cells.zarr"])
def test_a_lazy_csr_matrix_is_read_without_dask(directory, name, monkeypatch):
    lazy, dense = of_lazy("X", name), of_lazy("dense", name)
    monkeypatch.setattr(type(lazy), "compute", None)
    read = row_reader(lazy, 4)
    np.testing.assert_array_equal(read(3, 9).toarray(), X[3:9].toarray())
    doubled = lazy * 2
    for other in (dense, doubled, X):
        assert stored(other) is other

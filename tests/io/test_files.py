"""AnnData opened by path."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import univerce as uc
from tests.helpers.tiny import tiny_table
from univerce.io.files import open_anndata, opened

COUNTS = np.array([[1, 0, 2], [0, 3, 0]], dtype=np.float32)


def with_raw() -> ad.AnnData:
    whole = ad.AnnData(sp.csr_matrix(COUNTS), pd.DataFrame(index=["x", "y"]), pd.DataFrame(index=["a", "b", "c"]))
    adata = whole[:, :2].copy()
    adata.raw = whole
    return adata


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
@pytest.mark.parametrize("name", ["a.h5ad", "a.zarr"])
def test_raw_is_opened_and_stays_on_disk(name, tmp_path):
    path, adata = tmp_path / name, with_raw()
    adata.write_h5ad(path) if name.endswith("h5ad") else adata.write_zarr(path)
    with opened(path, expression=True) as found:
        assert found.raw.var_names.tolist() == ["a", "b", "c"]
        assert isinstance(found.raw.X, ad.abc.CSRDataset)
        np.testing.assert_array_equal(found.raw.X[:].toarray(), COUNTS)
    assert open_anndata(path).raw is None


@pytest.mark.filterwarnings("ignore")  # of anndata about the old format
def test_a_file_of_anndata_0_6_is_read_as_anndata_does(tmp_path):
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = COUNTS
        file["obs"] = np.array([(b"x", 1), (b"y", 0)], [("index", "S9"), ("cell_type", "i1")])
        file["var"] = np.array([(name,) for name in (b"a", b"b", b"c")], [("index", "S9")])
        file["uns/cell_type_categories"] = np.array([b"T", b"B"])
        file["obsm"] = np.array([([0.0, 1.0],), ([1.0, 0.0],)], [("X_toy", "f4", (2,))])
    found = open_anndata(tmp_path / "old.h5ad", expression=True)
    assert found.obs["cell_type"].tolist() == ["B", "T"]
    np.testing.assert_array_equal(found.obsm["X_toy"], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(found.X, COUNTS)


def test_the_home_directory_is_known(tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir(), here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    cells = uc.datasets.pbmc68k_reduced()[:20].copy()
    uc.tl.uce_embed(cells, store="~/store.zarr")
    uc.tl.uce_embed(cells)
    cells.write_h5ad(home / "cells.h5ad")
    assert uc.atlas.build("~/cells.h5ad", "~/a.zarr", groupby="cell_type", min_counts=None).n_obs == 20
    assert uc.atlas.subset("~/a.zarr", "cell_type == 'Dendritic'", "~/b.zarr").n_obs == uc.atlas.open("~/b.zarr").n_obs
    fitted = uc.tl.LabelClassifier.fit("~/cells.h5ad", groupby="cell_type", min_cells=2, n_folds=2)
    fitted.save("~/c.h5ad")
    uc.tl.transfer_labels(cells, "~/c.h5ad")
    assert uc.genes.read_table(uc.genes.write_table(tiny_table("human"), "~/t.h5ad")).n_obs > 0
    assert sorted(path.name for path in home.iterdir() if not path.name.startswith(".")) == [
        "a.zarr", "b.zarr", "c.h5ad", "cells.h5ad", "store.zarr", "t.h5ad"
    ]  # fmt: skip
    assert list(Path().iterdir()) == []

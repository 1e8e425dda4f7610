"""Groups of cells and their means, against pandas and scanpy."""

from __future__ import annotations

import logging
import warnings
from functools import partialmethod

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

import univerce.embeddings.groups as module
from tests.helpers.toy import toy_counts
from univerce.embeddings.cells import Cells
from univerce.embeddings.groups import embedding_means, get_groups, lognorm_means, shared_genes


@pytest.fixture
def adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    adata = ad.AnnData(toy_counts(60, 40))
    adata.obs["type"] = pd.Categorical(rng.choice(["b", "a", "c"], 60))
    adata.obs["tissue"] = rng.choice(["skin", "gut"], 60)
    adata.obsm["X_e"] = rng.normal(size=(60, 5)).astype(np.float32)
    return adata


def read(adata: ad.AnnData, name: str = "adata") -> Cells:
    return Cells.read(adata, "X_e", name=name)


def test_means_equal_those_of_pandas_whatever_the_blocks(adata, monkeypatch):
    groups = get_groups(read(adata), ["tissue", "type"])
    keys = [adata.obs["tissue"], adata.obs["type"].astype(str)]
    expected = pd.DataFrame(adata.obsm["X_e"].astype(np.float64), index=adata.obs_names).groupby(keys).mean()
    assert list(groups.table[["tissue", "type"]].itertuples(index=False, name=None)) == list(expected.index)
    np.testing.assert_array_equal(
        groups.table["n_cells"], expected.index.map(adata.obs.value_counts(["tissue", "type"]))
    )
    np.testing.assert_allclose(embedding_means(read(adata), groups), expected, rtol=1e-12)
    monkeypatch.setattr(Cells, "blocks", partialmethod(Cells.blocks, 7))
    np.testing.assert_allclose(embedding_means(read(adata), groups), expected, rtol=1e-12)


@pytest.mark.parametrize("storage", ["csr", "csc", "dense", "dask"])
@pytest.mark.parametrize("rows", [4096, 7])
def test_log_normalized_means_equal_scanpys(adata, monkeypatch, storage, rows):
    monkeypatch.setattr(module, "_BLOCK_ROWS", rows)
    genes = np.array([3, 1, 20, 7])
    adata.X = sp.csr_matrix(sp.diags((np.arange(60) != 5).astype(np.float32)) @ adata.X)  # a cell without counts
    expected = adata[:, genes].copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some cells have zero counts")
        sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    expected = sc.get.aggregate(expected, "type", "mean")
    if storage == "dask":
        da = pytest.importorskip("dask.array")
        adata.layers["counts"] = da.from_array(adata.X.toarray(), chunks=(9, 40))
    else:
        adata.layers["counts"] = {"csr": adata.X, "csc": adata.X.tocsc(), "dense": adata.X.toarray()}[storage]
    groups = get_groups(read(adata), ["type"])
    means = lognorm_means(adata, "counts", genes, groups, "adata")
    np.testing.assert_allclose(means, expected.layers["mean"], rtol=1e-5, atol=1e-7)


def test_log_normalized_means_of_a_file_equal_those_in_memory(adata, tmp_path):
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    groups = get_groups(read(adata), ["type"])
    genes = np.arange(10)
    np.testing.assert_array_equal(
        lognorm_means(backed, None, genes, groups, "a"), lognorm_means(adata, None, genes, groups, "a")
    )
    backed.file.close()


def test_values_that_are_no_counts_are_refused_with_a_way_out(adata):
    adata.layers["counts"] = adata.X
    adata.X = adata.X * np.float32(0.5)
    groups = get_groups(read(adata), ["type"])
    said = r"""^query: adata\.X holds values that are not whole.*pass baseline=\{"layer": 'counts'\}\..*baseline=None"""
    with pytest.raises(ValueError, match=said):
        lognorm_means(adata, None, np.arange(4), groups, "query")


def test_cells_without_label_or_embedding_are_in_no_group_and_reported(adata, caplog):
    adata.obs["type"] = adata.obs["type"].where(np.arange(60) >= 4)
    known = np.arange(60) != 10
    with caplog.at_level(logging.INFO, "univerce"):
        groups = get_groups(read(adata, "query"), ["type"], known)
    assert (groups.codes[[0, 1, 2, 3, 10]] == -1).all()
    assert groups.table["n_cells"].sum() == (groups.codes >= 0).sum() == 55
    assert "query: 5 of 60 cells are left out: 4 without a label in 'type', 1 without an embedding." in caplog.text


def test_small_groups_are_left_out_and_named(adata, caplog):
    adata.obs["type"] = ["rare", *["a"] * 30, *["b"] * 29]
    with caplog.at_level(logging.INFO, "univerce"):
        groups = get_groups(read(adata), ["type"], min_cells=2)
    assert groups.table["type"].tolist() == ["a", "b"]
    assert groups.codes.tolist() == [-1, *[0] * 30, *[1] * 29]
    assert "fewer than 2 cells are left out: rare." in caplog.text
    with pytest.raises(ValueError, match="no group of obs\\['type'\\] has min_cells=31"):
        get_groups(read(adata), ["type"], min_cells=31)


def test_no_cell_left_is_an_error(adata):
    with pytest.raises(ValueError, match=r"adata: no cell has both a label in obs\['type'\] and an embedding"):
        get_groups(read(adata), ["type"], np.zeros(60, dtype=bool))


def test_shared_genes_are_the_one_to_one_symbols():
    mouse = ["Cd3d", "Ms4a1", "Gapdh", "Twice", "TWICE", "", "Only"]
    human = ["MS4A1", "CD3D", "TWICE", "GAPDH", "GAPDH", ""]
    here, there = shared_genes(mouse, human)
    assert [(mouse[i], human[j]) for i, j in zip(here, there, strict=True)] == [("Cd3d", "CD3D"), ("Ms4a1", "MS4A1")]
    assert len(shared_genes(["A"], ["B"])[0]) == 0


def test_a_sparse_x_in_a_group_mean_stays_exact():
    groups = module.Groups(pd.DataFrame({"type": ["a"], "n_cells": [2]}), np.array([0, -1, 0]))
    blocks = [(slice(0, 3), sp.csr_matrix(np.array([[1, 2], [9, 9], [3, 0]])))]
    np.testing.assert_array_equal(module.group_means(blocks, groups), [[2, 1]])

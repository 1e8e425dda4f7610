"""Data of other packages of the scverse are read, and results of univerce are read by them."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import univerce as uc


@pytest.fixture(scope="module")
def embedded() -> ad.AnnData:
    adata = uc.datasets.pbmc68k_reduced()[::7].copy()
    uc.tl.uce_embed(adata)
    return adata


@pytest.fixture
def adata(embedded) -> ad.AnnData:
    return embedded.copy()


def _counts(embedded: ad.AnnData) -> ad.AnnData:
    """The same cells without the embedding."""
    return ad.AnnData(embedded.X.copy(), obs=embedded.obs[["cell_type"]].copy(), var=embedded.var[[]].copy())


def _embedding(adata: ad.AnnData) -> np.ndarray:
    return np.asarray(adata.obsm["X_uce"])


def test_scanpy_computes_neighbors_and_plots_a_umap_with_transferred_labels(adata):
    import scanpy as sc

    query, reference = adata[::2].copy(), adata[1::2].copy()
    reference.uns["cell_type_colors"] = [f"#0000{i:02x}" for i in range(reference.obs["cell_type"].cat.categories.size)]
    uc.tl.transfer_labels(query, reference, groupby="cell_type", threshold={"coverage": 0.8})
    with warnings.catch_warnings():  # umap warns of its own seed, igraph and numba
        warnings.simplefilter("ignore")
        sc.pp.neighbors(query, use_rep="X_uce", n_neighbors=5)
        sc.tl.umap(query, maxiter=5)
        ax = sc.pl.umap(query, color="cell_type_transferred", show=False)
    assert query.uns["neighbors"]["params"]["use_rep"] == "X_uce"
    expected = dict(zip(reference.obs["cell_type"].cat.categories, reference.uns["cell_type_colors"], strict=True))
    drawn = dict(
        zip(query.obs["cell_type_transferred"].cat.categories, query.uns["cell_type_transferred_colors"], strict=True)
    )
    assert {k: v for k, v in drawn.items() if k != "unknown"}.items() <= expected.items()
    assert len(ax.collections[0].get_offsets()) == query.n_obs
    plt.close("all")


def test_files_and_concatenation_preserve_the_embedding_and_its_space(adata, tmp_path: Path):
    with warnings.catch_warnings():  # zarr about its format
        warnings.simplefilter("ignore")
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata.write_zarr(tmp_path / "cells.zarr")
        copies = [ad.read_h5ad(tmp_path / "cells.h5ad"), ad.read_zarr(tmp_path / "cells.zarr")]
    for copy in (*copies, ad.concat([adata[:40], adata[40:]], uns_merge="same")):
        uc.tl.check_same_space(adata, copy)
        np.testing.assert_array_equal(_embedding(copy), _embedding(adata))


def test_fields_of_scvi_tools_are_unchanged_and_its_embedding_can_be_analyzed(adata):
    scvi = pytest.importorskip("scvi")
    adata.layers["counts"] = adata.X.copy()
    with warnings.catch_warnings():  # scvi-tools about its dependencies
        warnings.simplefilter("ignore")
        scvi.model.SCVI.setup_anndata(adata, layer="counts", batch_key="phase")
    registered = {key for key in (*adata.obs, *adata.uns) if "scvi" in key}
    assert "_scvi_uuid" in registered
    before = _embedding(adata).copy()
    uc.tl.uce_embed(adata, layer="counts")
    assert registered <= {*adata.obs, *adata.uns}
    np.testing.assert_array_equal(_embedding(adata), before)

    adata.obsm["X_scVI"] = np.random.default_rng(0).normal(size=(adata.n_obs, 10)).astype(np.float32)
    query, reference = adata[::2].copy(), adata[1::2].copy()
    with pytest.raises(KeyError, match="check_space=False"):
        uc.tl.transfer_labels(query, reference, groupby="cell_type", use_rep="X_scVI")
    uc.tl.transfer_labels(query, reference, groupby="cell_type", use_rep="X_scVI", check_space=False)
    assert query.obs["cell_type_transferred"].notna().all()


@pytest.mark.parametrize("place", ["obs", "uns"])
def test_a_file_of_the_cellxgene_schema_is_embedded_without_preparation(embedded, place):
    """Ensembl ids in var_names, symbols in feature_name, the species as an NCBITaxon term, counts in raw."""
    table = uc.genes.load_table("human").obs
    ids = dict(zip(table["symbol"], table["ensembl_id"], strict=True))
    known = [name for name in embedded.var_names if ids.get(name)]
    cells = _counts(embedded[:, known])
    cells.var["feature_name"] = pd.Categorical(known)
    cells.var["feature_biotype"] = "gene"
    cells.var_names = [ids[name] for name in known]
    cells.obs["cell_type_ontology_term_id"] = "CL:0000738"
    cells.obs["assay_ontology_term_id"] = "EFO:0009922"
    if place == "obs":
        cells.obs["organism_ontology_term_id"] = pd.Categorical(["NCBITaxon:9606"] * cells.n_obs)
        cells.obs["organism"] = pd.Categorical(["Homo sapiens"] * cells.n_obs)
    else:
        cells.uns["organism_ontology_term_id"] = "NCBITaxon:9606"
    published = cells.copy()
    published.raw = cells
    published.X = sp.csr_matrix(np.log1p(cells.X.toarray().astype(np.float32)))

    with pytest.raises(ValueError, match="pass layer='raw'"):
        uc.tl.uce_embed(published)
    counts = published.raw.to_adata()
    uc.tl.uce_embed(counts)
    same = embedded[:, known].copy()
    uc.tl.uce_embed(same)
    np.testing.assert_allclose(_embedding(counts), _embedding(same), atol=1e-6)
    uc.tl.uce_embed(published, layer="raw")
    np.testing.assert_array_equal(_embedding(published), _embedding(counts))

    symbols = counts.copy()
    symbols.var_names = [str(i) for i in range(symbols.n_vars)]  # identifiers lost by other tools
    uc.tl.uce_embed(symbols)
    assert symbols.uns["univerce"]["X_uce"]["gene_key"] == {"human": "feature_name"}
    np.testing.assert_allclose(_embedding(symbols), _embedding(same), atol=1e-6)


def test_a_table_of_spatialdata_keeps_its_regions_and_instances(embedded):
    cells = _counts(embedded)
    cells.obs["region"] = pd.Categorical(["cell_boundaries"] * cells.n_obs)
    cells.obs["cell_id"] = np.arange(cells.n_obs)
    attrs = {"region": "cell_boundaries", "region_key": "region", "instance_key": "cell_id"}
    cells.uns["spatialdata_attrs"] = dict(attrs)
    cells.obsm["spatial"] = np.random.default_rng(0).normal(size=(cells.n_obs, 2))
    before = cells.copy()
    uc.tl.uce_embed(cells, species="human")
    assert cells.uns["spatialdata_attrs"] == attrs
    pd.testing.assert_frame_equal(cells.obs[before.obs.columns], before.obs)
    np.testing.assert_array_equal(cells.obsm["spatial"], before.obsm["spatial"])
    np.testing.assert_array_equal(_embedding(cells), _embedding(embedded))

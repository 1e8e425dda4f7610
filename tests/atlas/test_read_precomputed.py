"""Embeddings that others computed: files whose X is the embedding, and arrays of the CELLxGENE Census."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import univerce as uc
from tests.helpers.tiny import tiny_table, write_tiny_model

TYPES = ("B cell", "T cell", "macrophage")
CENTERS = np.random.default_rng(1).normal(size=(3, 20))


def unit_rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unit length around one center a type, and the types."""
    rng = np.random.default_rng(seed)
    types = rng.integers(0, 3, n)
    values = CENTERS[types] + 0.3 * rng.normal(size=(n, 20))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32), types


def ima(path: Path, n: int = 90, seed: int = 0) -> Path:
    """A file as the authors publish them."""
    values, types = unit_rows(n, seed)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical([TYPES[t] for t in types]), "dataset": "one", "tissue": "blood",
            "coarse_cell_type": "immune",
        },
        index=[f"cell {i}" for i in range(n)],
    )  # fmt: skip
    ad.AnnData(values, obs=obs).write_h5ad(path)
    return path


def own(n: int = 40, seed: int = 7, **params) -> ad.AnnData:
    """Cells that a user embedded with the converted model."""
    values, types = unit_rows(n, seed)
    adata = ad.AnnData(obs=pd.DataFrame({"truth": [TYPES[t] for t in types]}, index=[f"own {i}" for i in range(n)]))
    adata.obsm["X_uce"] = values
    space = {"model": "uce-33l", "model_digest": "abc", "table_digest": {"human": "t"}, "species": ["human"]}
    adata.uns["univerce"] = {"X_uce": space | params}
    return adata


def test_x_becomes_the_embedding_of_a_stated_space_and_stays_on_disk(tmp_path):
    cells = uc.atlas.read_precomputed(ima(tmp_path / "ima.h5ad"), species="human")
    assert cells.shape == (90, 0)
    assert isinstance(cells.obsm["X_uce"], h5py.Dataset)
    np.testing.assert_array_equal(cells.obsm["X_uce"][:], unit_rows(90)[0])
    assert list(cells.obs) == ["cell_type", "dataset", "tissue", "coarse_cell_type", "X_uce_space"]
    params = cells.uns["univerce"]["X_uce"]
    assert (params["model"], params["model_digest"], params["species"]) == ("uce-33l", "stated: uce-33l", ["human"])
    assert cells.uns["organism"] == "human"


def test_an_embedding_in_obsm_is_read_too(tmp_path):
    values, _ = unit_rows(10)
    counts = sp.csr_matrix(np.eye(10, 4, dtype=np.float32))
    ad.AnnData(counts, obsm={"X_other": values}).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match="holds a sparse matrix, as of counts"):
        uc.atlas.read_precomputed(tmp_path / "a.h5ad")
    ad.AnnData(obs=pd.DataFrame(index=map(str, range(10))), obsm={"X_other": values}).write_h5ad(tmp_path / "b.h5ad")
    found = uc.atlas.read_precomputed(tmp_path / "b.h5ad", use_rep="X_other")
    np.testing.assert_array_equal(found.obsm["X_other"][:], values)
    with pytest.raises(ValueError, match=r"neither an embedding in X nor obsm\['X_uce'\]"):
        uc.atlas.read_precomputed(tmp_path / "b.h5ad")


def test_an_atlas_of_it_serves_search_centroids_and_labels_of_own_cells(tmp_path):
    reference = uc.atlas.read_precomputed(ima(tmp_path / "ima.h5ad"), species="human")
    built = uc.atlas.build({"ima": reference}, tmp_path / "atlas.zarr", groupby="cell_type", obs_keys=["tissue"])
    assert built.n_obs == 90
    assert built.uns["univerce"]["X_uce"]["model"] == "uce-33l"
    query = own()
    uc.tl.search_atlas(query, built, n_neighbors=5)
    assert (query.obs["atlas_label"].astype(str) == query.obs["truth"]).mean() > 0.9
    uc.tl.transfer_labels(query, built, groupby="cell_type")
    assert (query.obs["cell_type_transferred"].astype(str) == query.obs["truth"]).mean() > 0.9
    assert sorted(uc.tl.centroids(reference, "cell_type").obs_names) == sorted(TYPES)


def test_own_cells_of_that_model_join_and_the_digest_of_the_model_then_counts(tmp_path):
    reference = uc.atlas.read_precomputed(ima(tmp_path / "ima.h5ad"), species="human")
    data = {"ima": reference, "own": own()}
    built = uc.atlas.build(data, tmp_path / "both.zarr", groupby={"ima": "cell_type", "own": "truth"})
    assert built.uns["univerce"]["X_uce"]["model_digest"] == "abc"
    with pytest.raises(ValueError, match="come from two models"):
        uc.tl.check_same_space(built, own(model_digest="def"))


def test_embeddings_of_another_space_are_refused(tmp_path):
    reference = uc.atlas.read_precomputed(ima(tmp_path / "ima.h5ad"))
    with pytest.raises(ValueError, match="come from two models, 'uce-4l'"):
        uc.tl.check_same_space(own(model="uce-4l"), reference)
    with pytest.raises(ValueError, match="come from two models"):
        uc.tl.check_same_space(reference, uc.atlas.read_precomputed(tmp_path / "ima.h5ad", model="uce-4l"))
    uc.tl.check_same_space(reference, own())


def test_the_model_of_that_name_reads_it(tmp_path):
    """Genes are predicted from it by the converted model; another model is refused."""
    table = tiny_table("human")
    model = write_tiny_model(tmp_path / "model", model_id="uce-33l", output_dim=20, tables=[table]).path
    reference = uc.atlas.read_precomputed(ima(tmp_path / "ima.h5ad"), species="human")
    names = table.obs["symbol"][:2].tolist()
    assert uc.tl.predict_expression(reference, names, species="human", model=model).shape == (90, 2)
    other = write_tiny_model(tmp_path / "other", output_dim=20, tables=[table]).path
    with pytest.raises(ValueError, match="was made by the model 'uce-33l'"):
        uc.tl.predict_expression(reference, names, species="human", model=other)


@pytest.mark.parametrize(
    "change, message",
    [
        pytest.param(lambda x: 2 * x, "one has 2", id="scaled"),
        pytest.param(lambda x: np.round(20 * np.abs(x)), "must have the length 1", id="counts"),
        pytest.param(lambda x: np.where(x == x[0, 0], np.inf, x), "missing or infinite values", id="infinite"),
    ],
)
def test_values_that_are_no_embedding_raise(tmp_path, change, message):
    ad.AnnData(change(unit_rows(20)[0])).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match=message):
        uc.atlas.read_precomputed(tmp_path / "a.h5ad")


# The CELLxGENE Census


@pytest.fixture
def census(tmp_path) -> Path:
    """A tiny embedding array; cells 3 and 900 have no embedding, cell 5 a zero."""
    soma = pytest.importorskip("tiledbsoma", reason="needs the extra census")
    pa = pytest.importorskip("pyarrow")
    values, _ = unit_rows(50)
    values[5, 2] = 0
    rows, columns = np.nonzero(values)
    kept = rows != 3
    path = tmp_path / "uce"
    table = {
        "soma_dim_0": rows[kept].astype(np.int64), "soma_dim_1": columns[kept].astype(np.int64),
        "soma_data": values[rows[kept], columns[kept]],
    }  # fmt: skip
    with soma.SparseNDArray.create(str(path), type=pa.float32(), shape=(1000, 20)) as array:
        array.write(pa.Table.from_pydict(table))
        array.metadata["CxG_embedding_info"] = json.dumps({"title": "UCE", "census_version": "2023-12-15", "n": 3})
    return path


def test_cells_of_the_census_are_read_by_their_number(census):
    values, _ = unit_rows(50)
    values[5, 2] = 0
    obs = pd.DataFrame({"soma_joinid": [40, 5, 3, 900, 40, 7], "cell_type": list("abcdef")}, index=list("uvwxyz"))
    found = uc.atlas.read_precomputed(census, obs=obs, species="human")
    assert list(found.obs_names) == list("uvwxyz")
    np.testing.assert_array_equal(found.obsm["X_uce"][[0, 1, 4, 5]], values[[40, 5, 40, 7]])
    assert np.isnan(found.obsm["X_uce"][[2, 3]]).all()
    params = found.uns["univerce"]["X_uce"]
    assert (params["census_title"], params["census_version"]) == ("UCE", "2023-12-15")
    by_index = uc.atlas.read_precomputed(census, obs=obs.set_index("soma_joinid").iloc[:2])
    np.testing.assert_array_equal(by_index.obsm["X_uce"], values[[40, 5]])


def test_the_census_and_its_cells_must_be_there(census, tmp_path):
    with pytest.raises(KeyError, match=r"obs= has no 'soma_joinid'.*its columns are: 'cell'"):
        uc.atlas.read_precomputed(census, obs=pd.DataFrame({"cell": [1]}))
    with pytest.raises(FileNotFoundError, match="no TileDB-SOMA array"):
        uc.atlas.read_precomputed(tmp_path / "nothing", obs=pd.DataFrame({"soma_joinid": [1]}))


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tiledbsoma", None)
    with pytest.raises(ImportError, match=r'pip install "univerce\[census\]"'):
        uc.atlas.read_precomputed(tmp_path, obs=pd.DataFrame({"soma_joinid": [1]}))

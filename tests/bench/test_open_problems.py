"""The contract of Open Problems, and its ready component."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import yaml

import univerce as uc
from tests.helpers.bench_cells import BROKEN, PLAIN, counted_cells, some_method

COMPONENT = Path(__file__).parents[2] / "examples" / "open_problems" / "uce"


@pytest.fixture
def dataset():
    adata = counted_cells()
    adata.var["symbol"] = [f"S{i}" for i in range(60)]
    return uc.bench.export_open_problems(
        adata, batch_key="batch", groupby="type", species="mouse", dataset_id="d", feature_name="symbol"
    )


def test_the_data_set_has_what_the_task_demands_and_every_cell(dataset):
    adata = counted_cells()
    np.testing.assert_array_equal(dataset.layers["counts"].toarray(), adata.X.toarray())
    scaled = adata.X.toarray() / adata.X.toarray().sum(axis=1, keepdims=True) * 1e4
    np.testing.assert_allclose(dataset.layers["normalized"].toarray(), np.log1p(scaled), rtol=1e-5)
    assert sp.issparse(dataset.layers["counts"])
    assert list(dataset.obs_names) == list(adata.obs_names)
    assert dataset.obs["cell_type"].tolist() == adata.obs["type"].tolist()
    assert dataset.var[["feature_id", "feature_name", "hvg"]].iloc[0].tolist() == ["GENE0", "S0", True]
    assert dict(dataset.uns) == {
        "dataset_id": "d", "dataset_organism": "mus_musculus", "normalization_id": "log_cp10k", "dataset_name": "d",
        "dataset_summary": "120 cells of 3 types and 2 batches",
        "dataset_description": "120 cells of 3 types and 2 batches",
    }  # fmt: skip

    logs = dataset.layers["normalized"].toarray()
    np.testing.assert_allclose(dataset.var["hvg_score"], logs.var(axis=0) / logs.mean(axis=0), rtol=1e-3)
    assert dataset.obsm["X_pca"].shape == (120, 50)


def test_labels_of_the_test_data_are_predicted_from_the_training_data(dataset):
    dataset.obs["label"] = dataset.obs["cell_type"]
    test, train = dataset[::2].copy(), dataset[1::2].copy()
    truth = test.obs.pop("label")

    def gone(adata, **_):
        x = np.asarray(adata.X.toarray(), dtype=float)
        x[0] = np.nan
        return x

    found = uc.bench.predict_open_problems(test, train, some_method("gone", gone), method_id="m")
    assert list(found.obs_names) == list(test.obs_names)
    assert (found.obs["label_pred"] == truth)[1:].mean() > 0.9
    assert found.obs["label_pred"].iloc[0] == train.obs["label"].value_counts().sort_index().idxmax()
    assert dict(found.uns) == {
        "dataset_id": "d", "normalization_id": "log_cp10k", "method_id": "m", "n_cells_most_frequent": 1,
    }  # fmt: skip
    with pytest.raises(KeyError, match=r'reference is not in the format .*obs\["label"\]'):
        uc.bench.predict_open_problems(test, test, PLAIN)
    with pytest.raises(ValueError, match="broken failed: RuntimeError: no weights here"):
        uc.bench.predict_open_problems(test, train, BROKEN)


def test_what_is_exported_can_be_read_and_benchmarked(dataset, tmp_path):
    dataset.write_h5ad(tmp_path / "d.h5ad")
    adata = uc.bench.read_open_problems(tmp_path / "d.h5ad")
    assert (adata.var_names[0], adata.uns["organism"]) == ("S0", "mus_musculus")
    scores = uc.bench.run(adata, batch_key="batch", groupby="cell_type", methods=["PCA"], scib=False)
    assert scores["value"].notna().any()


def test_the_output_has_every_cell_and_one_without_counts_is_at_the_mean(dataset):
    def lacks(adata, **_):
        x = np.arange(adata.n_obs * 2, dtype=float).reshape(-1, 2)
        x[3] = np.nan
        return x

    output = uc.bench.embed_open_problems(dataset, some_method("lacks", lacks), method_id="m")
    assert (output.obsm["X_emb"].dtype, output.obsm["X_emb"].shape) == (np.float32, (120, 2))
    expected = np.delete(np.arange(240.0).reshape(-1, 2), 3, axis=0).mean(axis=0)
    np.testing.assert_allclose(output.obsm["X_emb"][3], expected, rtol=1e-6)
    assert dict(output.uns) == {
        "dataset_id": "d", "normalization_id": "log_cp10k", "method_id": "m", "n_cells_at_the_mean": 1,
    }  # fmt: skip
    assert uc.bench.read_open_problems(output) is output


def test_what_is_not_in_the_form_is_refused_by_the_names_of_what_lacks(dataset):
    with pytest.raises(KeyError, match=r'layers\["counts"\], .*uns\["dataset_id"\]'):
        uc.bench.read_open_problems(counted_cells())
    output = uc.bench.embed_open_problems(dataset, PLAIN)
    output.obsm["X_emb"][0] = np.nan
    with pytest.raises(ValueError, match="missing in 1 of 120 cells"):
        uc.bench.read_open_problems(output)
    adata = counted_cells()
    adata.obs.iloc[:2, 0] = np.nan
    with pytest.raises(ValueError, match="missing in 2 cells"):
        uc.bench.export_open_problems(adata, batch_key="batch", groupby="type", species="human", dataset_id="d")


def test_the_component_embeds_every_cell_with_its_dozen_lines(tmp_path, monkeypatch):
    adata = uc.datasets.pbmc68k_reduced()[:60].copy()
    dataset = uc.bench.export_open_problems(
        adata, batch_key="phase", groupby="cell_type", species="human", dataset_id="pbmc"
    )
    monkeypatch.chdir(tmp_path)
    dataset.write_h5ad("dataset.h5ad")
    script = (COMPONENT / "script.py").read_text()
    assert len([line for line in script.splitlines() if line.strip()]) <= 12
    exec(compile(script, "script.py", "exec"), {})
    output = uc.bench.read_open_problems(ad.read_h5ad("output.h5ad"))
    uc.tl.uce_embed(adata, species="human")
    np.testing.assert_allclose(output.obsm["X_emb"], adata.obsm["X_uce"], atol=1e-5)
    assert output.uns["method_id"] == "uce"


def test_the_configuration_names_the_script_and_its_arguments():
    config = yaml.safe_load((COMPONENT / "config.vsh.yaml").read_text())
    assert (COMPONENT / config["resources"][0]["path"]).is_file()
    assert [a["name"] for a in config["arguments"]] == ["--model"]
    assert config["arguments"][0]["default"] in ("uce-4l", "uce-33l")

"""The campaign of a TOML file: the command, its tables and its report."""

from __future__ import annotations

import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import univerce as uc
from benchmarks.campaign.__main__ import main
from benchmarks.campaign.config import read_config
from benchmarks.campaign.report import html_report
from benchmarks.campaign.run import add_umaps, run_config
from benchmarks.campaign.tables import write_tables
from tests.helpers.bench_cells import counted_cells

ROOT = Path(__file__).parents[2]
CONFIG = """
cache = "kept"
seeds = [0]
umap = false
[[data]]
name = "one"
path = "one.h5ad"
groupby = "type"
batch_key = "batch"
[[data]]
name = "two"
path = "two.h5ad"
groupby = "type"
score = false
[[method]]
name = "PCA"
n_comps = 5
[[method]]
name = "Geneformer"
[[method]]
name = "random"
[[transfer]]
reference = "one"
query = "two"
[transfer.types]
first = ["t0"]
second = ["t1"]
"""


@pytest.fixture
def config(tmp_path, monkeypatch) -> Path:
    """Few cells, so that scib-metrics, which is tested by itself, has nothing to say."""
    for name, seed in (("one", 1), ("two", 2)):
        counted_cells(84, seed=seed, prefix=name).write_h5ad(tmp_path / f"{name}.h5ad")
    path = tmp_path / "bench.toml"
    path.write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return path


def test_data_made_worse_are_scored_besides_the_data(config):
    config.write_text("degrade = ['few_cells']" + CONFIG.split("[[transfer]]")[0])
    plain, worse = run_config(read_config(config))
    assert (plain.name, worse.name) == ("one", "one, few cells")
    assert (plain.adata.n_obs, worse.adata.n_obs) == (84, 30)
    assert worse.adata.uns["benchmark"]["params"]["n_cells"]["scored"] == 30


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_zarr_and_labels_that_are_numbers_are_read_and_names_that_do_not_exist_refused(config):
    for name in ("one", "two"):
        adata = ad.read_h5ad(f"{name}.h5ad")
        adata.obs["type"] = adata.obs["type"].cat.codes.astype(int)
        adata.write_zarr(f"{name}.zarr")
    text = CONFIG.replace(".h5ad", ".zarr").replace('"t0"', '"0"').replace('"t1"', "1")
    config.write_text(text)
    _, transfer = run_config(read_config(config))
    assert transfer.adata.obs["benchmark_type"].value_counts().to_dict() == {"first": 28, "second": 28}
    two = text.index('name = "two"')
    for old, new, message in (
        ('groupby = "type"', 'groupby = "kind"', r"two.obs\['kind'\] does not exist; its columns are: 'type'"),
        ("score = false", 'score = false\nlayer = "raw"', "layer='raw' is not a layer of the AnnData"),
        ('"0"', '"t0"', "names 't0', which neither data set has; their labels are '0', '1', '2'"),
    ):
        config.write_text(text[:two].replace("path =", "score = false\npath =") + text[two:].replace(old, new))
        with pytest.raises((KeyError, ValueError), match=message):
            run_config(read_config(config))


def test_the_command_writes_tables_and_a_report_without_external_files(config, tmp_path, capsys):
    out = tmp_path / "out"
    main([str(config), "--report", str(out), "--tables", str(tmp_path / "t.md")])
    tables = (tmp_path / "t.md").read_text()
    assert tables == (out / "tables.md").read_text()
    assert tables in capsys.readouterr().out
    assert "| Geneformer | 0 | ValueError" in tables or "| Geneformer | 0 | " in tables
    scores = pd.read_csv(out / "scores.csv")
    (value,) = scores.query("data == 'one' and method == 'PCA' and metric == 'kNN accuracy'")["value"]
    assert f"| {value:.3f} |" in tables
    page = (out / "report.html").read_text()
    assert len(re.findall(r'src="data:image/png;base64,', page)) >= 4
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert not re.findall(r"<script|https?://", page.replace("https://doi.org", ""))
    assert uc.bench.published()["source"].iloc[0] in page
    assert pd.read_csv(out / "runs.csv")["status"].value_counts().to_dict() == {"done": 4, "failed": 2}
    assert list((tmp_path / "kept").glob("*.npz"))


def test_coarse_types_of_a_transfer_leave_out_what_they_do_not_name(config):
    one, two = run_config(read_config(config))
    assert two.name == "one to two"
    params = two.adata.uns["benchmark_transfer"]["params"]
    assert params["n_cells"]["scored"] == 56
    assert set(two.adata.uns["benchmark_transfer"]["types"]["type"]) == {"first", "second"}
    text = write_tables([one, two])
    assert "### one to two" in text
    assert "(random)" in text
    assert html_report([one, two]).count("<section") == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("umap = false", "umaps = false"), "unknown entry 'umaps'"),
        (
            ('path = "one.h5ad"', 'path = "none.h5ad"'),
            "none.h5ad does not exist. Paths begin at data_dir",
        ),
        (('query = "two"', 'query = "three"'), "names 'three'; the data are one, two"),
        (("seeds = [0]", "seeds = [0"), "is not valid TOML"),
        (('name = "two"', 'name = "one"'), "two \\[\\[data\\]\\] have the name 'one'|names 'two'"),
        (('cache = "kept"', 'data_dir = "$NOT_SET_ANYWHERE"'), "environment variable that is not set"),
        (("n_comps = 5", "n_dims = 5"), "PCA has no option 'n_dims'"),
        (('reference = "one"\n', ""), "has no reference"),
    ],
)
def test_an_invalid_configuration_is_refused_before_a_run(config, capsys, change, message):
    assert change[0] in CONFIG
    config.write_text(CONFIG.replace(*change))
    with pytest.raises(SystemExit):
        main([str(config)])
    assert re.search(message, capsys.readouterr().err)


def test_the_shipped_configuration_names_real_sets_and_known_methods(test_data):
    config = read_config(ROOT / "docs" / "benchmark" / "real.toml")
    assert {"scVI", "scANVI", "scArches", "UCE", "cell types"} <= {m.name for m in config.methods}
    assert len(config.transfers) == 3
    import anndata as ad

    by_name = {entry.name: entry for entry in config.data}
    for transfer in config.transfers:
        named = {label for labels in transfer.types.values() for label in labels}
        known = set()
        for side in (transfer.query, transfer.reference):
            known |= set(ad.read_h5ad(by_name[side].path, backed="r").obs["cell_type"])
        assert named <= known


def test_the_worked_example_of_the_page_runs_and_is_short(capsys):
    path = ROOT / "examples" / "add_a_method.py"
    assert len(path.read_text().splitlines()) <= 30
    exec(compile(path.read_text(), str(path), "exec"), {})
    out = capsys.readouterr().out
    values = dict(re.findall(r"^(LSI|PCA|random)\s+(0\.\d+)", out, re.MULTILINE))
    assert float(values["random"]) < 0.5 < float(values["LSI"])
    assert np.isfinite(list(map(float, values.values()))).all()


def test_umaps_leave_out_the_cells_without_an_embedding(monkeypatch):
    monkeypatch.setattr("scanpy.pp.neighbors", lambda adata, **_: None)
    monkeypatch.setattr("scanpy.tl.umap", lambda adata, **_: adata.obsm.update(X_umap=adata.X[:, :2]))
    adata = counted_cells(60, seed=1)
    adata.obsm["X_a"] = adata.obsm["X_clear"].copy()
    adata.obsm["X_a"][3] = np.nan
    runs = {"method": ["a", "random"], "status": "done", "control": [False, True], "obsm": ["X_a", "X_random"]}
    adata.uns["benchmark"] = {"runs": pd.DataFrame(runs)}
    add_umaps(adata)
    assert [key for key in adata.obsm if key.startswith("umap")] == ["umap a"]
    np.testing.assert_array_equal(np.isnan(adata.obsm["umap a"]).any(axis=1), np.arange(60) == 3)

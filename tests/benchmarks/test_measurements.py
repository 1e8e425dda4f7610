"""Measurements run at a tiny size, so that they have been run before they meet a GPU or much time."""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import pytest

from benchmarks import paired
from benchmarks.__main__ import NAMES, ON_REQUEST
from benchmarks.gpu import TINY, measure
from benchmarks.labeled.sets import TRANSFERS
from benchmarks.measurement import Run

ROOT = Path(__file__).parents[2]
needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


@pytest.mark.slow
def test_the_gpu_measurement_runs_on_a_cpu(tmp_path, capsys):
    results = measure(Run(None, tmp_path / "docs", tmp_path, {}), TINY, seconds=1e6)
    failed = [r for r in results if r.value is None]
    assert not failed
    for model in ("uce-4l", "uce-brain"):
        found = {r.what: r.value for r in results if r.model == model}
        cosine, apart = (next(v for k, v in found.items() if text in k) for text in ("cosine", "different cells"))
        assert 1 - cosine < 0.05 * (1 - apart), "agrees with the reference, which tells cells apart"
        assert found["30 cells from a backed h5ad, cells/s"] > 0
    written = json.loads((tmp_path / "docs" / "gpu.json").read_text())
    assert len(written["results"]) == len(results)
    assert written["card"]["name"] == "CPU"
    table = (tmp_path / "docs" / "gpu.md").read_text().splitlines()[2:]
    assert len(table) == 2 + len(results)
    printed = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert [cell.strip() for cell in table[-1].strip("|").split("|")] == printed[-1]


def test_the_gpu_measurement_names_what_its_time_did_not_allow(tmp_path):
    results = measure(Run(None, None, tmp_path, {}), TINY, seconds=0)
    assert len(results) == 12
    assert all(r.value is None and r.note.startswith("skipped") for r in results)


def test_every_measurement_can_be_imported_and_an_unknown_one_is_refused():
    for name in (*NAMES, *ON_REQUEST):
        assert callable(importlib.import_module(f"benchmarks.{name}").main)
    done = subprocess.run([sys.executable, "-m", "benchmarks", "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown measurement 'nothing'" in done.stderr


@needs_git
@pytest.mark.slow
def test_two_commits_are_compared_in_one_table_of_several_calls(tmp_path):
    sizes = {"base": "HEAD", "turns": "1", "atlas": "2000", "dir": str(tmp_path / "kept")}
    for word in ("centroids", "import univerce.tl"):
        run = Run(None, tmp_path / "docs", tmp_path, sizes | {"only": word})
        with contextlib.suppress(SystemExit):  # a ratio of busy cores
            paired.main(run)
    jobs = json.loads((tmp_path / "docs" / "paired.json").read_text())["jobs"]
    assert {name: [len(turns) for turns in figures.values()] for name, figures in jobs.items()} == {
        "import univerce.tl": [3, 3],
        "centroids": [1, 1],
    }
    for seconds, cpu, peak in (turn for figures in jobs.values() for turns in figures.values() for turn in turns):
        assert seconds > 0
        assert cpu > 0
        assert 0.01 < peak < 10
    table = (tmp_path / "docs" / "paired.md").read_text()
    assert [line.split(" | ")[0] for line in table.splitlines()[4:]] == ["| import univerce.tl", "| centroids"]


@needs_git
def test_a_job_that_got_slower_ends_the_comparison_and_is_named(tmp_path, monkeypatch):
    figures = {"before": [[1.0, 1.0, 1.0]] * 3, "after": [[1.2, 1.2, 1.0], [1.0, 1.0, 2.0], [1.3, 1.3, 1.0]]}
    monkeypatch.setattr(paired, "_measure", lambda *_: figures)
    with pytest.raises(SystemExit, match=r"earlier speed: import univerce\.tl$"):
        paired.main(Run(None, tmp_path / "docs", tmp_path, {"base": "HEAD", "only": "import univerce.tl"}))
    row = (tmp_path / "docs" / "paired.md").read_text().splitlines()[-1]
    assert row == "| import univerce.tl | 1 | 1.2 | 0.833 | 0.77-1.00 | 1 | 1 |"


def test_transfers_name_labels_that_exist_and_share_types(test_data):
    """A misspelled label would silently leave its cells out."""
    for transfer in TRANSFERS:
        types = []
        for side in (transfer.train, transfer.test):
            obs = ad.read_h5ad(test_data / "eval" / f"{side.name}.h5ad", backed="r").obs
            labels = set(obs["cell_type"].astype(str))
            if side.column is not None:
                assert (obs[side.column].astype(str) == side.value).any()
            if side.types is not None:
                assert set(side.types) <= labels
                labels = set(side.types.values())
            types.append(labels)
        assert len(types[0]) > 1
        assert types[0] & types[1]
        assert transfer.one_way == (not len(types[0] & types[1]) > 1)

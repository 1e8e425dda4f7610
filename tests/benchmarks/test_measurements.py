"""Measurements run at a tiny size, so that they have been run before they meet a GPU or much time."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import pytest

from benchmarks.__main__ import NAMES
from benchmarks.gpu import TINY, measure
from benchmarks.labeled.sets import TRANSFERS
from benchmarks.measurement import Run

ROOT = Path(__file__).parents[2]


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
    for name in NAMES:
        assert callable(importlib.import_module(f"benchmarks.{name}").main)
    done = subprocess.run([sys.executable, "-m", "benchmarks", "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown measurement 'nothing'" in done.stderr


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

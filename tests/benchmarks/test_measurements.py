"""Measurements run at a tiny size, so that they have been run before they meet a GPU or much time."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import anndata as ad

from benchmarks.__main__ import NAMES
from benchmarks.gpu import TINY, measure
from benchmarks.labeled.sets import TRANSFERS
from benchmarks.measurement import Run

ROOT = Path(__file__).parents[2]


def test_the_gpu_measurement_runs_on_a_cpu(tmp_path):
    run = Run(None, tmp_path / "docs", tmp_path, {})
    assert min(measure(run, TINY)) > 0.999
    assert (tmp_path / "docs" / "gpu.md").exists()


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

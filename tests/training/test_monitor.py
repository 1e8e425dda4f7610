"""Signs of collapse, and the log."""

from __future__ import annotations

import csv
import io
import logging
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.fabric.loggers import tensorboard

from tests.helpers.training_cells import MODEL, RECIPE, SETS
from univerce.model import UCE
from univerce.training.corpus import Corpus
from univerce.training.monitor import Log, effective_rank, evaluate, mean_cosine, validation_batches

ROW = {"step": 3, "loss": 0.5, "cosine": 0.1, "rank": 9.0}


def test_the_mean_cosine_is_that_of_all_pairs():
    x = np.random.default_rng(0).normal(size=(9, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert mean_cosine(x) == pytest.approx(np.mean([x[i] @ x[j] for i in range(9) for j in range(9) if i != j]))


def test_the_effective_rank_of_a_flat_spectrum_is_the_rank():
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 5)))[0] for n in (40, 12))
    assert effective_rank(left @ right.T) == pytest.approx(5)
    assert 1 < effective_rank(left * [1, 0.5, 0.1, 0.1, 0.1] @ right.T) < 5


def test_held_out_data_sets_are_scored_apart_with_the_same_cells_every_time():
    recipe = replace(RECIPE, held_out_sets=("other",), validation_cells=5)
    c = Corpus(SETS, MODEL, recipe)
    features = torch.from_numpy(c.vocabulary.features)
    torch.manual_seed(0)
    network = UCE(MODEL)
    batches = validation_batches(c, recipe)
    assert [len(batch.lengths) for batch in batches.values()] == [5, 5]
    scores = [evaluate(network, c, features, recipe, batches=b) for b in (None, batches)]
    assert scores[0] == scores[1]
    both = {"loss", "auroc", "frequency_loss", "frequency_auroc", "global_frequency_loss", "global_frequency_auroc"}
    both |= {"gap_closed"}
    assert set(scores[0]) == both | {f"unseen_{name}" for name in both} | {"cosine", "cosine_any", "rank"}
    # No other set is of that species: the global frequencies are not known.
    assert scores[0]["unseen_global_frequency_loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert scores[0]["unseen_global_frequency_auroc"] == 0.5
    alone = [evaluate(network, c, features, recipe, batches={k: batches[k]}) for k in (0, 1)]
    assert scores[0]["loss"] == alone[0]["loss"]
    assert scores[0]["unseen_loss"] == alone[1]["unseen_loss"]


def test_rows_after_the_step_are_written_again(tmp_path):
    log = Log(tmp_path, 0)
    for step in (1, 2, 3):
        log.write(ROW | {"step": step})
    Log(tmp_path, 2).write(ROW | {"loss": 0.25})
    rows = list(csv.DictReader(io.StringIO((tmp_path / "log.csv").read_text())))
    assert [(row["step"], row["loss"]) for row in rows] == [("1", "0.5"), ("2", "0.5"), ("3", "0.25")]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    "signs, warned",
    [({}, False), ({"cosine": 0.99}, True), ({"rank": 1.5}, True)],
    ids=["healthy", "all cells of a set are alike", "few directions"],
)
def test_a_collapse_is_logged(tmp_path, caplog, signs, warned):
    with caplog.at_level(logging.WARNING, logger="univerce"):
        Log(tmp_path, 0).write(ROW | signs)
    assert ("the embedding collapses" in caplog.text) == warned


def test_a_collapse_is_logged_when_it_begins(tmp_path, caplog):
    log, bad = Log(tmp_path, 0), ROW | {"rank": 1.5}
    for signs in (bad, bad, ROW, bad):
        log.write(signs)
    assert caplog.text.count("the embedding collapses") == 2


def test_tensorboard_gets_every_number(tmp_path, monkeypatch):
    written, made = [], []

    class SummaryWriter:
        def __init__(self, log_dir: str, purge_step: int) -> None:
            made.append((Path(log_dir), purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            written.append("flushed")

        def close(self) -> None:
            written.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    monkeypatch.setattr(tensorboard, "_TENSORBOARD_AVAILABLE", True)
    log = Log(tmp_path, 2, tensorboard=True)
    log.write(ROW)
    log.close()
    assert made == [(tmp_path / "tensorboard", 3)]
    assert written == [*((name, value, 3) for name, value in ROW.items()), "flushed", "flushed", "closed"]


def test_missing_tensorboard_names_the_extra(tmp_path, monkeypatch):
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(tensorboard, name, False)
    with pytest.raises(ImportError, match=r'pip install "univerce\[train\]"'):
        Log(tmp_path, 0, tensorboard=True)

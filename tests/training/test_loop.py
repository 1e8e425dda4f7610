"""Pretraining on toy cells: it learns, resumes to the byte, and scores correctly."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

import univerce as uc
from tests.helpers.training_cells import MODEL, RECIPE, SETS, on_disk
from univerce.model import PretrainConfig, TrainingSet, UCEConfig, pretrain
from univerce.training.corpus import Corpus
from univerce.training.loop import _Run, _schedule, evaluate

COLUMNS = [
    "step", "learning_rate", "train_loss", "cells_per_second", "loss", "auroc", "frequency_loss", "frequency_auroc",
    "global_frequency_loss", "global_frequency_auroc", "gap_closed", "cosine", "cosine_any", "rank",
]  # fmt: skip


def rows_of(directory: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((directory / "log.csv").read_text())))


def as_bytes(network: torch.nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


def train(directory: Path, model: UCEConfig = MODEL, recipe: PretrainConfig = RECIPE, sets=SETS):
    return pretrain(sets, model, recipe, directory)


# Learning


def test_the_loss_falls_below_that_of_the_frequencies(tmp_path):
    recipe = replace(
        RECIPE, steps=120, batch_size=32, n_queries=32, learning_rate=3e-3, ema=0.9, evaluate_every=40
    )  # fmt: skip
    train(tmp_path, replace(MODEL, dropout=0.0), recipe, SETS[:1])
    rows = rows_of(tmp_path)
    assert [int(row["step"]) for row in rows] == [40, 80, 120]
    assert float(rows[-1]["loss"]) < float(rows[-1]["frequency_loss"]) - 0.05
    assert float(rows[-1]["auroc"]) > float(rows[-1]["frequency_auroc"]) + 0.1


def test_mixed_precision_trains_as_well(tmp_path):
    recipe = replace(RECIPE, steps=2, autocast=True)
    low, full = train(tmp_path / "low", MODEL, recipe), train(tmp_path / "full", MODEL, replace(recipe, autocast=False))
    assert all(p.dtype == torch.float32 for p in low.parameters())
    assert as_bytes(low) != as_bytes(full)
    for (name, a), b in zip(low.named_parameters(), full.parameters(), strict=True):
        assert torch.allclose(a, b, atol=5e-3), name


def test_the_result_is_the_averaged_network_in_evaluation_mode(tmp_path):
    network = train(tmp_path)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, saved["average"][f"module.{name}"])
    assert any(not torch.equal(saved["average"][f"module.{name}"], saved["network"][name]) for name in saved["network"])
    (group,) = saved["optimizer"]["param_groups"]
    assert group["lr"] == pytest.approx(RECIPE.learning_rate * _schedule(RECIPE.steps - 1, RECIPE))
    model = uc.model.save_model(network, tmp_path / "model")
    assert uc.model.find_model(tmp_path / "model") == model


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine_to_a_hundredth():
    recipe = PretrainConfig(steps=110, warmup=10)
    assert [_schedule(step, recipe) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert _schedule(60, recipe) == pytest.approx(0.505)
    assert _schedule(110, recipe) == pytest.approx(0.01)


# Interruptions


def interrupted(
    monkeypatch: pytest.MonkeyPatch, directory: Path, at: int, model: UCEConfig, recipe=RECIPE, sets=SETS
) -> None:
    """Train until the step ``at`` begins, and be killed."""
    step = _Run.train_step

    def killed(self: _Run, i: int) -> None:
        if i == at:
            raise KeyboardInterrupt
        step(self, i)

    with monkeypatch.context() as context:
        context.setattr(_Run, "train_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(directory, model, recipe, sets)


@pytest.mark.parametrize(
    "at", [pytest.param(1, id="before the first checkpoint"), pytest.param(5, id="after two checkpoints")]
)
def test_an_interrupted_training_resumes_to_the_same_bytes_and_the_same_log(tmp_path, monkeypatch, at):
    whole = train(tmp_path / "whole")
    interrupted(monkeypatch, tmp_path / "parts", at, MODEL)
    parts = train(tmp_path / "parts")
    assert as_bytes(parts) == as_bytes(whole)
    saved = [torch.load(tmp_path / d / "checkpoint.pt", weights_only=True) for d in ("whole", "parts")]
    for name in saved[0]["network"]:
        assert torch.equal(saved[0]["network"][name], saved[1]["network"][name])
    logs = [rows_of(tmp_path / d) for d in ("whole", "parts")]
    assert list(logs[0][0]) == COLUMNS
    assert [row["step"] for row in logs[0]] == ["3", "6"]
    for row in (*logs[0], *logs[1]):
        assert all(math.isfinite(float(value)) for value in row.values())
        del row["cells_per_second"]
    assert logs[0] == logs[1]
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == ["checkpoint.pt", "log.csv"]


def test_evaluations_after_the_last_checkpoint_are_not_logged_twice(tmp_path, monkeypatch):
    interrupted(monkeypatch, tmp_path, 3, MODEL)  # evaluated after step 3, saved after step 2
    assert [row["step"] for row in rows_of(tmp_path)] == ["3"]
    train(tmp_path)
    assert [row["step"] for row in rows_of(tmp_path)] == ["3", "6"]


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch):
    first = as_bytes(train(tmp_path))
    monkeypatch.setattr(_Run, "train_step", lambda *_: pytest.fail("trained again"))
    assert as_bytes(train(tmp_path)) == first


def test_the_seed_decides_and_the_global_generator_of_torch_is_not_used(tmp_path):
    networks = []
    with torch.random.fork_rng():
        for i, seed in enumerate((0, 0, 1)):
            torch.manual_seed(i)
            before = torch.get_rng_state()
            networks.append(as_bytes(train(tmp_path / str(i), recipe=replace(RECIPE, seed=seed))))
            assert torch.equal(torch.get_rng_state(), before)
    assert networks[0] == networks[1] != networks[2]


# The log


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Share of pairs in the right order."""
    return float(np.mean((positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)))


def test_the_scores_are_those_computed_by_hand(tmp_path):
    network = train(tmp_path)
    corpus = Corpus(SETS, MODEL, RECIPE)
    features = torch.from_numpy(corpus.vocabulary.features)
    expected, cells = [], []
    for part in (0, 1):
        batch = corpus.validation(part, np.random.default_rng([0, part]), n_cells=64)
        logits, mine = [], []
        for i, n in enumerate(batch.lengths):  # each cell alone, without pads
            with torch.no_grad():
                tokens = network.encode_tokens(features[torch.from_numpy(batch.ids[i, :n].astype(int))])
                cell = network.embed(tokens[None])
                logit = network.predict(cell, features[torch.from_numpy(batch.queries[i].astype(int))])
            logits.append(logit[0].numpy() + batch.offsets[i])
            mine.append(cell[0].numpy())
        target = np.tile([1] * 4 + [0] * 4, len(mine))
        row = []
        for scores in (
            np.array(logits, dtype=float),
            *(x.astype(float) for x in (batch.offsets, batch.global_offsets)),
        ):
            row.append(log_loss(target, 1 / (1 + np.exp(-scores.ravel()))))
            row.append(auroc(scores[:, :4].ravel(), scores[:, 4:].ravel()))
        pairs = [float(a @ b) for i, a in enumerate(mine) for b in mine[:i]]
        expected.append([*row, np.mean(pairs)])
        cells += mine
    means = np.mean(expected, axis=0)
    pairs = [float(a @ b) for i, a in enumerate(cells) for b in cells[:i]]
    # The squares of the singular values are the eigenvalues of the Gram matrix.
    spectrum = np.linalg.eigvalsh(np.array(cells, dtype=float).T @ np.array(cells, dtype=float)) ** 0.5
    share = spectrum[spectrum > 1e-9] / spectrum[spectrum > 1e-9].sum()
    names = COLUMNS[4:10]
    assert evaluate(network, corpus, features, RECIPE) == pytest.approx(
        dict(zip(names, means, strict=False))
        | {
            "gap_closed": 1 - means[0] / means[2], "cosine": means[6], "cosine_any": np.mean(pairs),
            "rank": np.prod(share**-share),
        },
        abs=3e-4,
    )  # fmt: skip


# Data on disk, parts of a step, several processes


@pytest.fixture(scope="module")
def disk(tmp_path_factory) -> list[TrainingSet]:
    return on_disk(SETS, tmp_path_factory.mktemp("training"))


def test_counts_on_disk_train_to_the_bytes_of_counts_in_memory_when_the_buffer_holds_them(tmp_path, disk):
    assert as_bytes(train(tmp_path / "disk", sets=disk)) == as_bytes(train(tmp_path / "memory"))


SMALL_BUFFER = replace(RECIPE, accumulate=2, buffer_cells=32, block_rows=8)


def test_an_interrupted_training_with_a_small_buffer_resumes_to_the_same_bytes(tmp_path, monkeypatch, disk):
    whole = train(tmp_path / "whole", recipe=SMALL_BUFFER, sets=disk)
    interrupted(monkeypatch, tmp_path / "parts", 5, MODEL, SMALL_BUFFER, disk)
    assert as_bytes(train(tmp_path / "parts", recipe=SMALL_BUFFER, sets=disk)) == as_bytes(whole)
    logs = [rows_of(tmp_path / d) for d in ("whole", "parts")]
    for row in (*logs[0], *logs[1]):
        del row["cells_per_second"]
    assert logs[0] == logs[1]


def comparable(network: torch.nn.Module) -> list[torch.Tensor]:
    """All parameters but the biases of the attention keys: their gradient is zero, and Adam follows its rounding."""
    named = network.named_parameters()
    return [p.view(3, -1)[[0, 2]] if name.endswith("in_proj_bias") else p for name, p in named]


def close(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.allclose(a, b, atol=1e-4) for a, b in zip(comparable(one), comparable(other), strict=True))


def test_a_step_in_parts_is_the_whole_step(tmp_path):
    still = replace(MODEL, dropout=0.0)  # dropout is drawn for each part
    whole, parts = (train(tmp_path / str(n), still, replace(RECIPE, accumulate=n)) for n in (1, 4))
    assert close(whole, parts)
    logs = [rows_of(tmp_path / str(n)) for n in (1, 4)]
    for one, other in zip(*logs, strict=True):
        for name in ("train_loss", "loss", "auroc"):
            assert float(one[name]) == pytest.approx(float(other[name]), abs=2e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of lightning
def test_two_processes_train_like_one(tmp_path, disk):
    alone = train(tmp_path / "one", recipe=replace(RECIPE, accumulate=2, steps=4), sets=disk)
    recipe = replace(RECIPE, steps=4)
    both = pretrain(disk, MODEL, recipe, tmp_path / "two", devices=2)
    assert close(alone, both)
    assert not both.training
    logs = [rows_of(tmp_path / d) for d in ("one", "two")]
    assert [row["step"] for row in logs[1]] == ["3", "4"]
    for one, other in zip(*logs, strict=True):
        for name in ("train_loss", "loss", "auroc", "rank"):
            assert float(one[name]) == pytest.approx(float(other[name]), abs=2e-4)


def test_a_training_without_lightning_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning.fabric", None)
    with pytest.raises(ImportError, match=r'needs lightning: pip install "univerce\[train\]"'):
        train(tmp_path)


# Continue from a model


def test_a_training_continues_from_the_weights_of_a_model_as_another_space(tmp_path):
    source = uc.model.save_model(train(tmp_path / "first"), tmp_path / "source")
    mine = replace(MODEL, model_id="mine", dropout=0.0)
    recipe = replace(RECIPE, continue_from=str(source.path), learning_rate=0.0)
    same = train(tmp_path / "still", mine, recipe)
    loaded = uc.model.load_network(source).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in same.state_dict().items())
    moved = uc.model.save_model(train(tmp_path / "moved", mine, replace(recipe, learning_rate=1e-3)), tmp_path / "mine")
    assert moved.config.model_id == "mine"
    assert moved.digest != source.digest


def test_another_architecture_or_the_same_name_cannot_be_continued(tmp_path):
    source = str(uc.model.save_model(uc.model.UCE(MODEL), tmp_path / "source").path)
    recipe = replace(RECIPE, continue_from=source)
    with pytest.raises(ValueError, match=r"another architecture than the model: n_layers=3 \(it has 2\)"):
        train(tmp_path / "run", replace(MODEL, model_id="mine", n_layers=3), recipe)
    with pytest.raises(ValueError, match="model_id='toy' is the name of the model to continue from"):
        train(tmp_path / "run", MODEL, recipe)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_continues_from_other_weights_raises(tmp_path):
    source = uc.model.save_model(uc.model.UCE(MODEL), tmp_path / "source").path
    recipe, mine = replace(RECIPE, continue_from=str(source), steps=1), replace(MODEL, model_id="mine")
    train(tmp_path / "run", mine, recipe)
    shutil.rmtree(source)
    uc.model.save_model(uc.model.UCE(MODEL), source)
    with pytest.raises(ValueError, match=r"other weights to continue from"):
        train(tmp_path / "run", mine, recipe)


def test_the_configuration_is_written_with_the_model(tmp_path):
    network = train(tmp_path / "run")
    model = uc.model.save_model(network, tmp_path / "model", pretraining=RECIPE)
    written = json.loads((model.path / "config.json").read_text())["pretraining"]
    assert PretrainConfig(**written) == RECIPE
    assert model.digest == uc.model.save_model(network, tmp_path / "other").digest


# Invalid arguments


@pytest.mark.parametrize(
    "model, recipe, sets",
    [
        pytest.param(MODEL, replace(RECIPE, learning_rate=1e-4), SETS, id="another recipe"),
        pytest.param(replace(MODEL, n_sample=20), RECIPE, SETS, id="another model"),
        pytest.param(MODEL, RECIPE, SETS[:1], id="other data sets"),
        pytest.param(MODEL, RECIPE, [SETS[0], replace(SETS[1], counts=SETS[1].counts * 2)], id="other counts"),
    ],
)
def test_a_checkpoint_of_another_training_raises_and_is_kept(tmp_path, model, recipe, sets):
    train(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    log = (tmp_path / "log.csv").read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint.pt belongs to another training run \(.*\); use a new out_dir"):
        train(tmp_path, model, recipe, sets)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert (tmp_path / "log.csv").read_bytes() == log


@pytest.mark.parametrize(
    "model, recipe, message",
    [
        pytest.param(replace(MODEL, token_dim=12), RECIPE, "tables have 10 features, the model reads 12", id="width"),
        pytest.param(
            replace(MODEL, token_encoder="esm"), RECIPE, "tables are of toy, the model reads 'esm'", id="encoder"
        ),
        pytest.param(MODEL, replace(RECIPE, held_out=0.0), "held_out=0.0 leaves no data set two cells", id="held out"),
        pytest.param(MODEL, replace(RECIPE, accumulate=3), "batch_size=8 cannot be shared evenly", id="uneven parts"),
    ],
)
def test_invalid_trainings_raise_before_anything_is_written(tmp_path, model, recipe, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "run", model, recipe)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"accumulate": 0}, "accumulate=0 must be at least 1"),
        ({"n_queries": 7}, "n_queries=7 must be even"),
        ({"n_queries": 0}, "n_queries=0 must be even"),
        ({"mask_fraction": 0.0}, "mask_fraction=0.0 must be between"),
        ({"mask_fraction": 1.0}, "mask_fraction=1.0 must be between"),
        ({"held_out": 1.0}, "held_out=1.0 must be at least 0 and below 1"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_invalid_configurations_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**changes)

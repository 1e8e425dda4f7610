"""Train the bundled ``uce-tiny`` on the training sets (``--data``): the network of the paper at a small size.

``dir=DIR`` is the directory of the training, which is resumed; ``out=src/univerce/data/uce-tiny`` is where the model
lies. ``export=1`` writes the model of the last checkpoint in ``dir`` without training: the bundled weights are those
after 400 of the 1,200 steps.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pandas as pd
import torch
from torch.optim.swa_utils import AveragedModel

import univerce as uc
from benchmarks.fit import training_sets
from benchmarks.measurement import Run
from univerce.model.config import UCE_TINY
from univerce.model.directory import CONFIG, WEIGHTS

HELD_OUT = ("human_pbmc4k_soupx", "mouse_pancreas_e15_veloviz", "human_lung_luad_s100a4")


def last(directory: Path) -> uc.model.UCE:
    """The averaged network of the last checkpoint."""
    average = AveragedModel(uc.model.UCE(UCE_TINY))
    average.load_state_dict(torch.load(directory / "checkpoint.pt", weights_only=True)["average"])
    return average.module


def main(run: Run) -> None:
    """Train, show the scores, and write the model in half precision."""
    began = time.process_time()
    directory = Path(run.option("dir") or run.scratch())
    recipe = uc.model.PretrainConfig(
        steps=1200, n_queries=128, learning_rate=2e-3, warmup=100, frequency_offset=False, held_out_sets=HELD_OUT,
        evaluate_every=200, checkpoint_every=50,
    )  # fmt: skip
    if run.option("export"):
        network = last(directory)
    else:
        network = uc.model.pretrain(training_sets(run.data), UCE_TINY, recipe, directory)
    log = pd.read_csv(directory / "log.csv")
    columns = [
        f"{p}{name}" for p in ("", "unseen_") for name in ("loss", "frequency_loss", "auroc", "frequency_auroc")
    ] + ["cosine", "rank"]
    rows = [(int(row["step"]), *(f"{row[c]:.4f}" for c in columns)) for _, row in log.iterrows()]
    print(f"{time.process_time() - began:.0f} CPU seconds")
    run.record("tiny", f"uce-tiny, {recipe.batch_size} cells a step", ("step", *columns), rows)
    made = uc.model.save_model(network.half(), run.scratch() / "model", pretraining=recipe)
    if out := run.option("out"):
        Path(out).mkdir(parents=True, exist_ok=True)
        for file in (CONFIG, WEIGHTS):
            shutil.copyfile(made.path / file, Path(out) / file)

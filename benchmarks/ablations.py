"""What each switch of the pretraining is worth, at equal cost: as many cells, another recipe.

On the training sets (``--data``), some of them held out as a whole: changes to the bundled ``uce-tiny``, the network of
the paper at a small size. ``dir=`` is the directory of the trainings; what has been trained there is not trained again.
``only=`` names some of them, divided by semicolons, ``steps=150`` is their length.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np

import univerce as uc
from benchmarks.fit import training_sets
from benchmarks.labeled.scores import N_FOLDS, nearest_neighbors, within
from benchmarks.measurement import Run
from univerce.genes.release.registry import BUNDLED_TABLES
from univerce.model.config import UCE_TINY

LABELED = (
    "human_dc_zilionis_rogue", "mouse_marrow_paul15_desc", "mouse_oligodendrocyte_marques_scx",
    "mouse_pancreas_e15_veloviz",
)  # fmt: skip
HELD_OUT = (*LABELED, "human_pbmc4k_soupx", "human_lung_luad_s100a4")
MOST_CELLS = 800

ABLATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "uce-tiny": ({}, {}),
    "1 layer": ({"n_layers": 1}, {}),
    "seed 1": ({}, {"seed": 1}),
    "masked 0.1": ({}, {"mask_fraction": 0.1}),
    "masked 0.4": ({}, {"mask_fraction": 0.4}),
    "64 draws": ({"n_sample": 64}, {}),
    "512 draws": ({"n_sample": 512}, {}),
    "no frequency offset": ({}, {"frequency_offset": False}),
    "4 layers": ({"n_layers": 4}, {}),
    "width 256": ({"d_model": 256, "d_hidden": 1024}, {}),
    "multinomial draws": ({"sampling": "multinomial"}, {}),
    "seed 2": ({}, {"seed": 2}),
}
"""Changes to the network and to the recipe."""


def accuracy(data: Path, model: Path) -> float:
    """Mean over the labeled sets that were held out of 15 nearest neighbors in five folds."""
    found = []
    for name in LABELED:
        adata = ad.read_h5ad(data / "train" / f"{name}.h5ad")
        labels = adata.obs["cell_type"].astype(str)
        kept = np.flatnonzero(labels.map(labels.value_counts()) >= N_FOLDS)
        kept = np.sort(np.random.default_rng(0).permutation(kept)[:MOST_CELLS])
        adata = adata[kept].copy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            uc.tl.uce_embed(adata, species="species", model=model)
            scores = within(nearest_neighbors(), adata.obsm["X_uce"], adata.obs["cell_type"].astype(str).to_numpy())
        found.append(scores["accuracy"])
    return float(np.mean(found))


def main(run: Run) -> None:
    """Train every variant, and score it."""
    directory = Path(run.option("dir") or run.scratch())
    names = (run.option("only") or ";".join(ABLATIONS)).split(";")
    steps = int(run.option("steps", "150"))
    sets, rows = training_sets(run.data), []
    title = f"{steps} steps of 64 cells each, {len(sets) - len(HELD_OUT)} data sets, {len(HELD_OUT)} others unseen"
    for name in names:
        changes, recipe = ABLATIONS[name]
        model = dataclasses.replace(UCE_TINY, model_id="ablation", **changes)
        config = uc.model.PretrainConfig(
            steps=steps, held_out_sets=HELD_OUT, evaluate_every=steps, checkpoint_every=75, **recipe
        )
        out = directory / name.replace(" ", "-").replace(",", "")
        network = uc.model.pretrain(sets, model, config, out)
        with (out / "log.csv").open(newline="") as file:
            log = {key: float(value) for key, value in list(csv.DictReader(file))[-1].items()}
        assert log["step"] == steps
        right = f"{scored(run.data, network, out):.3f}"
        over = [f"{log[f'{p}auroc'] - log[f'{p}frequency_auroc']:+.4f}" for p in ("", "unseen_")]
        gaps = [f"{log[f'{p}gap_closed']:.2%}" for p in ("", "unseen_")]
        rows.append((name, over[0], gaps[0], over[1], gaps[1], right, f"{log['cosine']:.2f}", f"{log['rank']:.0f}"))
        run.record("ablations", title, ("", *COLUMNS), rows)  # so far: all of it takes long


def scored(data: Path, network: uc.model.UCE, out: Path) -> float:
    """:func:`accuracy` of a network that was trained in ``out``, from there once it is known."""
    known = out / "accuracy.json"
    if not known.exists():
        shutil.rmtree(out / "model", ignore_errors=True)
        uc.model.save_model(network, out / "model")
        (out / "model" / "tables").symlink_to(BUNDLED_TABLES.resolve(), target_is_directory=True)
        known.write_text(json.dumps(accuracy(data, out / "model")))
    return float(json.loads(known.read_text()))


COLUMNS = (
    "AUROC over frequency", "gap closed", "AUROC over frequency, unseen", "gap closed, unseen", "kNN, unseen", "cosine",
    "rank",
)  # fmt: skip

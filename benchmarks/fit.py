"""Fit the bundled linear model on the training sets (``--data``) and write it into the package.

``out=src/univerce/data/uce-mini`` is where it lies; nothing is kept without ``out=``. ``seed=1`` samples other cells of
each set.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
import warnings
from pathlib import Path

import anndata as ad
import scipy.sparse as sp

import univerce as uc
from benchmarks.measurement import Run
from univerce.genes.release.registry import BUNDLED_TABLES
from univerce.model.directory import CONFIG, WEIGHTS


def training_sets(data: Path) -> list[uc.model.TrainingSet]:
    """All data sets of ``train``, in memory."""
    sets = []
    for path in sorted((data / "train").glob("*.h5ad")):
        adata = ad.read_h5ad(path)
        adata.X = sp.csr_matrix(adata.X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # names of old annotations
            sets.append(uc.pp.training_set(adata, name=path.stem, species=str(adata.obs["species"].iloc[0])))
    return sets


def fit_bundled(data: Path, out: Path, seed: int = 0) -> uc.model.Model:
    """Fit ``uce-mini`` into a directory, which gets the bundled gene tables, too."""
    recipe = dataclasses.replace(uc.model.LinearFit(), model_id="uce-mini", seed=seed)
    model = uc.model.fit_linear(training_sets(data), out, fit=recipe)
    (out / "tables").symlink_to(BUNDLED_TABLES.resolve(), target_is_directory=True)
    return model


def main(run: Run) -> None:
    """Fit and write the model."""
    began = time.process_time()
    made = fit_bundled(run.data, run.scratch() / "model", int(run.option("seed", "0")))
    print(f"{made}: {time.process_time() - began:.0f} CPU seconds, {made.weights.stat().st_size / 2**20:.2f} MiB")
    if out := run.option("out"):
        Path(out).mkdir(parents=True, exist_ok=True)
        for file in (CONFIG, WEIGHTS):
            shutil.copyfile(made.path / file, Path(out) / file)

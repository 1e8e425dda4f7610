"""What fitting a classifier of labels takes: processor time, peak memory of the process, size of the saved file.

``cells=200000 labels=200 dims=128`` are of a simulated reference: lineages of related labels of unequal size, variance
that falls along the columns as in an embedding. The limits are those of 200,000 cells and 200 labels.
"""

from __future__ import annotations

import time

import anndata as ad
import numpy as np
import pandas as pd

from benchmarks.measurement import Run, memory
from univerce._settings import settings
from univerce.tl.labels.label_classifier import LabelClassifier

HEADER = ("", "measured", "limit")


def simulate(n: int, n_labels: int, n_dims: int) -> ad.AnnData:
    """Cells of 20 lineages; the rarest label is a hundred times rarer than the most common one."""
    rng = np.random.default_rng(0)
    spread = (3 / np.sqrt(np.arange(1, n_dims + 1))).astype(np.float32)
    lineage = rng.normal(size=(20, n_dims))[np.arange(n_labels) % 20]
    center = ((0.5 * lineage + 0.3 * rng.normal(size=(n_labels, n_dims))) * spread).astype(np.float32)
    share = np.geomspace(1, 0.01, n_labels)
    least = min(20, n // n_labels)
    drawn = rng.choice(n_labels, n - least * n_labels, p=share / share.sum())
    y = np.concatenate([np.repeat(np.arange(n_labels), least), drawn])
    x = np.empty((n, n_dims), dtype=np.float32)
    for rows in np.array_split(np.arange(n), max(n // 10_000, 1)):
        x[rows] = center[y[rows]] + spread * rng.standard_normal((len(rows), n_dims), dtype=np.float32)
    labels = pd.Categorical.from_codes(y, [f"label {k}" for k in range(n_labels)])
    return ad.AnnData(obs=pd.DataFrame({"label": labels}, index=[f"c{i}" for i in range(n)]), obsm={"X": x})


def main(run: Run) -> None:
    """Fit, save, and compare with the limits."""
    n, n_labels, n_dims = (int(run.option(*pair)) for pair in (("cells", "200000"), ("labels", "200"), ("dims", "128")))
    reference = simulate(n, n_labels, n_dims)
    path = run.scratch() / "classifier.h5ad"
    begin = time.process_time()
    with settings.override(progress=False):
        classifier = LabelClassifier.fit(reference, groupby="label", use_rep="X", max_cells=None)
    seconds = time.process_time() - begin
    classifier.save(path)
    rows = [
        ("processor time of the fit, s", seconds, 60), ("peak memory of the process, GB", memory("VmHWM"), 1.5),
        ("saved classifier, MB", path.stat().st_size / 1e6, 5), ("accuracy", float(classifier.scores["accuracy"]), ""),
        ("calibration error", float(classifier.scores["ece_after"]), ""),
    ]  # fmt: skip
    title = f"A classifier of {n_labels} labels fitted to {n:,} simulated cells of {n_dims} dimensions"
    run.record("label-fit", title, HEADER, rows)

"""Scores of scib-metrics."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any, Final

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from univerce.embeddings.neighbors import exact_neighbors

BIO: Final = ("Isolated labels", "KMeans NMI", "KMeans ARI", "Silhouette label", "cLISI")
BATCH: Final = ("BRAS", "iLISI", "KBET", "Graph connectivity", "PCR comparison")
TOTALS: Final = ("Bio conservation", "Batch correction", "Total")
N_NEIGHBORS: Final = 90


def scib_scores(
    x: np.ndarray, types: pd.Categorical, batches: pd.Categorical | None, before: np.ndarray
) -> Mapping[str, float]:
    """Score one embedding ``[n, n_dims]`` with :class:`scib_metrics.benchmark.Benchmarker` and exact neighbors.

    Scores are not scaled between embeddings. ``before`` are principal components of the expression, for the PCR
    comparison. Returns :data:`BIO`, and with batches :data:`BATCH` and :data:`TOTALS`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # missing optional packages, scores clipped at zero
        try:
            import scib_metrics as scib
            from scib_metrics import benchmark, nearest_neighbors
        except ImportError as error:
            raise ImportError('The scores need scib-metrics: pip install "univerce[bench]"') from error

        def neighbors(points: np.ndarray, k: int) -> Any:
            indices, distances = exact_neighbors(points, points, k)  # the cell itself first
            return nearest_neighbors.NeighborsResults(indices=indices.astype(np.int32), distances=distances)

        level = scib.settings.verbosity
        logging.getLogger("scib_metrics").setLevel(logging.WARNING)
        try:
            obs = pd.DataFrame({"type": types, "batch": "one" if batches is None else batches})
            obs.index = obs.index.astype(str)
            shell = ad.AnnData(sp.csr_matrix((len(x), 1), dtype=np.float32), obs=obs, obsm={"X": x, "before": before})
            bench = benchmark.Benchmarker(
                shell, "batch", "type", ["X"], pre_integrated_embedding_obsm_key="before", progress_bar=False,
                batch_correction_metrics=None if batches is None else benchmark.BatchCorrection(),
                bio_conservation_metrics=benchmark.BioConservation(isolated_labels=batches is not None),
            )  # fmt: skip
            bench.prepare(neighbors)
            bench.benchmark()
            found = bench.get_results(min_max_scale=False).loc["X"]
        finally:
            scib.settings.verbosity = level
    return {str(name): float(value) for name, value in found.items()}

"""scGraph, against its published definition step by step, and its extremes."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import euclidean
from scipy.stats import pearsonr, spearmanr, trim_mean

from tests.helpers.bench_cells import counted_cells
from univerce.bench._expression import principal_components
from univerce.bench._scgraph import NAMES, consensus, scgraph_scores


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = counted_cells(500, 80, types=5, batches=2, seed=3)
    adata.obs["type"] = adata.obs["type"].astype(str)
    adata.obs.iloc[:4, 0] = "rare"
    adata.obs["batch"] = np.where(adata.obs["type"] == "t4", "b0", adata.obs["batch"])  # a type of one batch
    adata.obs.iloc[-60:, 1] = "small"
    return adata


def distances(x: np.ndarray, types: np.ndarray, names: list[str]) -> pd.DataFrame:
    center = {name: trim_mean(x[types == name], 0.05, axis=0) for name in names if (types == name).any()}
    apart = pd.DataFrame({b: {a: euclidean(center[a], center[b]) for a in center} for b in center})
    return apart / apart.max()


def by_definition(adata: ad.AnnData, x: np.ndarray) -> list[float]:
    types, names = adata.obs["type"].to_numpy(), [f"t{i}" for i in range(5)]
    parts = []
    for batch in ("b0", "b1"):
        inside = (adata.obs["batch"] == batch).to_numpy()
        components = principal_components(adata[inside], n_top_genes=1000, n_comps=10)
        parts.append(distances(components, types[inside], names).reindex(index=names, columns=names))
    expected = pd.DataFrame(np.nanmean(parts, axis=0), names, names)
    expected = expected / expected.max()
    found = distances(x, types, names)
    rows = []
    for name in names:
        a, b = found[name].to_numpy(), expected[name].to_numpy()
        weight = np.array([0 if d == 0 else 1 / d for d in b])
        a0, b0 = (np.average(v, weights=weight) for v in (a, b))
        weighted = (weight * (a - a0) * (b - b0)).sum()
        weighted /= np.sqrt((weight * (a - a0) ** 2).sum() * (weight * (b - b0) ** 2).sum())
        rows.append([spearmanr(a, b).statistic, pearsonr(a, b).statistic, weighted])
    return np.mean(rows, axis=0).tolist()


def test_scores_are_those_of_the_definition(cells):
    types = cells.obs["type"].to_numpy()
    expected = consensus(cells, types, cells.obs["batch"].to_numpy())
    assert expected.index.tolist() == ["t0", "t1", "t2", "t3", "t4"]
    x = np.random.default_rng(0).normal(size=(500, 3)) + cells.obsm["X_clear"][:, :3]
    found = scgraph_scores(x, types, expected).mean()
    assert list(found.index) == list(NAMES)
    np.testing.assert_allclose(found, by_definition(cells, x), rtol=1e-5)


def test_scores_are_those_of_scgraph_eval(cells):
    """Computed by scgraph-eval 0.1.2 for the same cells, log-normalized."""
    types = cells.obs["type"].to_numpy()
    x = np.random.default_rng(0).normal(size=(500, 3)) + cells.obsm["X_clear"][:, :3]
    found = scgraph_scores(x.astype("f4"), types, consensus(cells, types, cells.obs["batch"].to_numpy())).mean()
    np.testing.assert_allclose(found, [0.46, 0.8158413630, 0.1810659854], rtol=1e-4)


def test_expression_itself_scores_high_and_noise_low(cells):
    types = cells.obs["type"].to_numpy()
    expected = consensus(cells, types, cells.obs["batch"].to_numpy())
    high = scgraph_scores(principal_components(cells, n_top_genes=1000, n_comps=10), types, expected).mean()
    low = scgraph_scores(np.random.default_rng(0).normal(size=(500, 3)), types, expected).mean()
    assert min(high[name] for name in NAMES[:2]) > 0.8
    assert all(low[name] < high[name] for name in NAMES)


def test_without_a_batch_of_100_cells_there_is_no_consensus(cells):
    some = cells[:90]
    assert consensus(some, some.obs["type"].to_numpy(), np.zeros(90)) is None

from __future__ import annotations

import harmonypy
import numpy as np
import pandas as pd
import pytest

from tests.helpers.typed_cells import typed_cells
from univerce.bench.methods._expression import log_normalize, variable_genes
from univerce.bench.methods.harmony import METHOD
from univerce.bench.methods.pca import principal_components

CALL = {"batch": "batch", "labels": None, "rng": 0}


def _mixing(x, batch):
    """Mean distance between centroids of batches, over the spread within them."""
    centroids = pd.DataFrame(x).groupby(np.asarray(batch), observed=True).mean().to_numpy()
    return np.linalg.norm(centroids - centroids.mean(axis=0)) / x.std()


def test_harmony_brings_batches_together_and_keeps_the_rows():
    cells = typed_cells()
    before = principal_components(cells.copy(), batch="batch", rng=0, n_top_genes=2000, n_comps=10)
    after = METHOD.embed(cells.copy(), **CALL, n_comps=10)
    assert (after.shape, after.dtype) == (before.shape, np.float32)
    assert _mixing(after, cells.obs["batch"]) < 0.5 * _mixing(before, cells.obs["batch"])
    # a cell stays nearer to where it was than to where a random other cell was
    other = np.random.default_rng(0).permutation(len(before))
    assert np.linalg.norm(after - before, axis=1).mean() < np.linalg.norm(after - before[other], axis=1).mean()


def test_harmony_equals_a_direct_call_on_the_components():
    cells = typed_cells()
    components = principal_components(cells.copy(), batch="batch", rng=3, n_top_genes=2000, n_comps=10)
    direct = harmonypy.run_harmony(components.T, cells.obs[["batch"]], ["batch"], verbose=False, random_state=3)
    got = METHOD.embed(cells, batch="batch", labels=None, rng=3, n_comps=10)
    np.testing.assert_allclose(got, np.asarray(direct.Z_corr), atol=1e-4)


def test_harmony_starts_from_genes_that_vary_within_batches():
    cells = typed_cells()
    log_normalize(cells)
    assert (variable_genes(cells, 10, batch="batch") != variable_genes(cells, 10)).any()


def test_harmony_repeats_itself():
    np.testing.assert_array_equal(METHOD.embed(typed_cells(), **CALL), METHOD.embed(typed_cells(), **CALL))


def test_harmony_without_batches_says_so():
    with pytest.raises(ValueError, match="Harmony needs batches"):
        METHOD.embed(typed_cells(), batch=None, labels=None, rng=0)

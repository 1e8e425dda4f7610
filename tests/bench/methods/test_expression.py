"""log-norm, HVG, PCA and Harmony against plain numpy, scanpy and harmonypy."""

from __future__ import annotations

import harmonypy
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

from tests.helpers.typed_cells import typed_cells
from univerce.bench._expression import batch_names, log_normalized, principal_components, variable_genes
from univerce.bench.method import find_method

CALL = {"batch_key": "batch", "groupby": "type", "rng": 0}


def embed(name, cells, **options):
    return find_method(name).embed(cells, **CALL | options)


def by_hand(adata):
    x = adata.X.toarray() if sp.issparse(adata.X) else adata.X
    return np.log1p(1e4 * x / np.maximum(x.sum(axis=1, keepdims=True), 1))


@pytest.mark.parametrize(
    "form, dtype", [(sp.csr_matrix, np.float32), (sp.csc_matrix, np.int64), (np.asarray, np.uint16)]
)
def test_log_norm_is_the_logarithm_of_counts_per_ten_thousand_of_expressed_genes(form, dtype):
    cells = typed_cells(empty=(3,))
    x = cells.X.toarray().astype(dtype)
    x[:, [5, 9]] = 0
    cells.X = form(x)
    expected = np.delete(by_hand(cells), [5, 9], axis=1)
    got = embed("log-norm", cells)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert not got[3].any()


def test_log_norm_refuses_a_matrix_that_would_fill_the_memory():
    with pytest.raises(ValueError, match=r"120 cells with 60 expressed genes take 0\.0 GB .* 'HVG'"):
        embed("log-norm", typed_cells(), max_gigabytes=1e-6)


def test_hvg_is_log_norm_of_the_genes_that_scanpy_finds_variable():
    cells = typed_cells()
    normal = cells.copy()
    normal.X = sp.csr_matrix(by_hand(cells).astype(np.float32))
    normal.uns["log1p"] = {"base": None}
    sc.pp.highly_variable_genes(normal, n_top_genes=20)
    got = embed("HVG", cells, n_top_genes=20)
    np.testing.assert_allclose(got, normal.X.toarray()[:, normal.var["highly_variable"]], rtol=1e-5)


def test_pca_is_the_singular_value_decomposition_of_the_centered_hvg():
    values = embed("HVG", typed_cells(), n_top_genes=20).astype(np.float64)
    u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    got = embed("PCA", typed_cells(), n_top_genes=20, n_comps=5)
    sign = np.sign((got * u[:, :5]).sum(axis=0))
    np.testing.assert_allclose(got * sign, (u * s)[:, :5], atol=2e-3)
    assert embed("PCA", typed_cells(n=8)).shape == (8, 7)


@pytest.mark.parametrize("name", ["HVG", "PCA", "log-norm"])
def test_a_baseline_does_not_see_batches_or_labels(name):
    got = embed(name, typed_cells(), batch_key=None, groupby=None)
    np.testing.assert_array_equal(got, embed(name, typed_cells()))


def test_with_batches_the_genes_are_those_that_scanpy_finds_variable_within_them():
    logs = log_normalized(typed_cells(n=300, n_genes=200))
    direct = logs.copy()
    sc.pp.highly_variable_genes(direct, n_top_genes=20, batch_key="batch")
    before = logs.copy()
    got = variable_genes(logs, 20, batch_key="batch")
    np.testing.assert_array_equal(got, direct.var["highly_variable"])
    assert (got != variable_genes(logs, 20)).any()
    assert variable_genes(logs, 200).all()
    assert (logs.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(logs.obs, before.obs)


@pytest.mark.parametrize("sizes", [[118, 2], [40, 40, 38, 1, 1]], ids=str)
def test_tiny_batches_do_not_stop_the_choice_of_genes(sizes):
    cells = typed_cells()
    cells.obs["batch"] = np.repeat([f"b{i}" for i in range(len(sizes))], sizes)
    assert variable_genes(log_normalized(cells), 10, batch_key="batch").sum() == 10


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_names_of_variables_may_repeat():
    one, same = (log_normalized(typed_cells(names=names)) for names in (None, ["gene"] * 60))
    expected = variable_genes(one, 10, batch_key="batch")
    np.testing.assert_array_equal(variable_genes(same, 10, batch_key="batch"), expected)


def mixing(x, batch):
    """Mean distance between centroids of batches, over the spread within them."""
    centroids = pd.DataFrame(x).groupby(np.asarray(batch), observed=True).mean().to_numpy()
    return np.linalg.norm(centroids - centroids.mean(axis=0)) / x.std()


def test_harmony_is_a_direct_call_on_the_components_and_mixes_batches():
    cells = typed_cells()
    before = principal_components(cells, batch_key="batch", rng=3, n_top_genes=2000, n_comps=10)
    direct = harmonypy.run_harmony(before.T, cells.obs[["batch"]], ["batch"], verbose=False, random_state=3)
    after = embed("Harmony", cells.copy(), rng=3, n_comps=10)
    np.testing.assert_allclose(after, np.asarray(direct.Z_corr), atol=1e-4)
    assert after.dtype == np.float32
    assert mixing(after, cells.obs["batch"]) < 0.5 * mixing(before, cells.obs["batch"])


@pytest.mark.parametrize(
    "batch_key, values, message",
    [
        (None, None, "Harmony needs batches: pass batch_key="),
        ("batch", ["a"] * 10, "two batches or more; obs\\['batch'\\] holds only 'a'"),
        ("batch", ["a", None] * 5, "is missing in 5 cells"),
    ],
    ids=["not passed", "one", "missing"],
)
def test_a_method_that_needs_batches_says_what_is_wrong_with_them(batch_key, values, message):
    cells = typed_cells(n=10)
    cells.obs["batch"] = values or "a"
    with pytest.raises(ValueError, match=message):
        batch_names(cells, batch_key, "Harmony")

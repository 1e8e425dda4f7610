"""log-norm, HVG and PCA against plain numpy, and what they share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

from tests.helpers.typed_cells import typed_cells
from univerce.bench.methods import hvg, log_norm, pca
from univerce.bench.methods._expression import (
    log_normalize,
    require_batches,
    variable_genes,
    with_variable_genes,
)

CALL = {"batch": "batch", "labels": "type", "rng": 0}


def _by_hand(adata):
    x = adata.X.toarray() if sp.issparse(adata.X) else adata.X
    return np.log1p(1e4 * x / np.maximum(x.sum(axis=1, keepdims=True), 1))


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csc_matrix, np.asarray])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint16])
def test_log_norm_is_the_logarithm_of_counts_per_ten_thousand_in_every_container(form, dtype):
    cells = typed_cells()
    expected = _by_hand(cells)
    cells.X = form(cells.X.toarray().astype(dtype))
    got = log_norm.METHOD.embed(cells, **CALL)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_log_norm_leaves_out_genes_that_no_cell_expresses_and_an_empty_cell_is_zero():
    cells = typed_cells(empty=(3,))
    x = cells.X.toarray()
    x[:, [5, 9]] = 0
    cells.X = sp.csr_matrix(x)
    expected = np.delete(_by_hand(cells), [5, 9], axis=1)
    got = log_norm.METHOD.embed(cells, **CALL)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert not got[3].any()


def test_log_norm_refuses_a_matrix_that_would_fill_the_memory_and_says_what_to_do():
    with pytest.raises(ValueError, match=r"120 cells with 60 expressed genes take 0\.0 GB .* 'HVG'"):
        log_norm.METHOD.embed(typed_cells(), **CALL, max_gigabytes=1e-6)


def test_hvg_is_log_norm_of_the_genes_that_scanpy_finds_variable():
    cells = typed_cells()
    normal = cells.copy()
    normal.X = sp.csr_matrix(_by_hand(cells).astype(np.float32))
    normal.uns["log1p"] = {"base": None}
    sc.pp.highly_variable_genes(normal, n_top_genes=20)
    got = hvg.METHOD.embed(cells, **CALL, n_top_genes=20)
    np.testing.assert_allclose(got, normal.X.toarray()[:, normal.var["highly_variable"]], rtol=1e-5)


def test_pca_is_the_singular_value_decomposition_of_the_centered_hvg():
    values = hvg.METHOD.embed(typed_cells(), **CALL, n_top_genes=20).astype(np.float64)
    u, s, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    got = pca.METHOD.embed(typed_cells(), **CALL, n_top_genes=20, n_comps=5)
    sign = np.sign((got * u[:, :5]).sum(axis=0))
    np.testing.assert_allclose(got * sign, (u * s)[:, :5], atol=2e-3)


@pytest.mark.parametrize("method", [hvg.METHOD, pca.METHOD, log_norm.METHOD], ids=lambda m: m.name)
def test_a_baseline_is_not_told_the_batches_or_the_labels(method):
    expected = method.embed(typed_cells(), **CALL)
    got = method.embed(typed_cells(), batch=None, labels=None, rng=0)
    np.testing.assert_array_equal(got, expected)


def test_pca_of_few_cells_has_fewer_components():
    assert pca.METHOD.embed(typed_cells(n=8), **CALL).shape == (8, 7)


def test_all_genes_are_variable_when_there_are_no_more_than_asked_for():
    cells = typed_cells(n_genes=20)
    log_normalize(cells)
    assert variable_genes(cells, 20).all()


def test_with_batches_the_genes_are_those_that_scanpy_finds_variable_within_them():
    cells = typed_cells(n=300, n_genes=200)
    log_normalize(cells)
    direct = cells.copy()
    sc.pp.highly_variable_genes(direct, n_top_genes=20, batch_key="batch")
    got = variable_genes(cells, 20, batch="batch")
    np.testing.assert_array_equal(got, direct.var["highly_variable"])
    assert (got != variable_genes(cells, 20)).any()


@pytest.mark.parametrize("sizes", [[118, 2], [119, 1], [40, 40, 38, 1, 1]], ids=str)
def test_tiny_batches_do_not_stop_the_choice_of_genes(sizes):
    cells = typed_cells()
    cells.obs["batch"] = np.repeat([f"b{i}" for i in range(len(sizes))], sizes)
    log_normalize(cells)
    assert variable_genes(cells, 10, batch="batch").sum() == 10


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_names_of_variables_may_repeat():
    cells, same = typed_cells(), typed_cells(names=["gene"] * 60)
    for adata in (cells, same):
        log_normalize(adata)
    got = variable_genes(same, 10, batch="batch")
    np.testing.assert_array_equal(got, variable_genes(cells, 10, batch="batch"))


def test_the_choice_of_genes_leaves_the_cells_as_they_were():
    cells = typed_cells()
    log_normalize(cells)
    before = cells.copy()
    variable_genes(cells, 10, batch="batch")
    assert (cells.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(cells.obs, before.obs)
    pd.testing.assert_frame_equal(cells.var, before.var)


def test_counts_of_variable_genes_are_still_the_counts():
    cells = typed_cells()
    subset = with_variable_genes(cells.copy(), 10, batch="batch")
    assert (subset.X.format, subset.X.dtype, subset.shape) == ("csr", np.float32, (120, 10))
    np.testing.assert_array_equal(subset.X.toarray(), cells[:, subset.var_names].X.toarray())


@pytest.mark.parametrize(
    "batch, values, message",
    [
        (None, None, "Harmony needs batches: pass batch="),
        ("batch", ["a"] * 10, "two batches or more; obs\\['batch'\\] holds only 'a'"),
        ("batch", ["a", None] * 5, "is missing in 5 cells"),
    ],
    ids=["none named", "one", "missing"],
)
def test_a_method_that_needs_batches_says_what_is_wrong_with_them(batch, values, message):
    cells = typed_cells(n=10)
    cells.obs["batch"] = values or "a"
    with pytest.raises(ValueError, match=message):
        require_batches(cells, batch, "Harmony")

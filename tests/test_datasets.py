"""The bundled cells and their recovered counts."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp

from univerce.datasets import _recover_counts, pbmc68k_reduced


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    return pbmc68k_reduced()


def test_the_counts_reproduce_every_published_value_to_its_last_decimal(adata: ad.AnnData) -> None:
    published = sc.datasets.pbmc68k_reduced().raw.X.toarray()
    scaled = adata.X.toarray() * (1e4 / adata.obs["n_counts"].to_numpy()[:, None])
    np.testing.assert_allclose(np.log1p(scaled), published, atol=5.01e-4, rtol=0)


def test_dividing_by_the_smallest_value_of_a_cell_gives_the_same_counts(adata: ad.AnnData) -> None:
    """An oracle without n_counts, for small counts, where three decimals are enough."""
    published = sc.datasets.pbmc68k_reduced().raw.X.tocsr()
    for i in range(0, adata.n_obs, 7):
        scaled = np.expm1(published[i].data.astype(float))
        counts = scaled / scaled.min()
        small = counts < 20
        np.testing.assert_array_equal(np.rint(counts[small]), adata.X[i].data[small])


def test_it_is_an_anndata_of_counts_and_labels(adata: ad.AnnData) -> None:
    assert isinstance(adata.X, sp.csr_matrix)
    assert adata.X.dtype == np.int32
    assert adata.shape == (700, 765)
    assert adata.X.data.min() == 1
    totals = adata.X.sum(axis=1).A1
    assert np.all(totals <= adata.obs["n_counts"].to_numpy())
    assert adata.uns["organism"] == "Homo sapiens"
    assert "Zheng" in adata.uns["source"]
    published = sc.datasets.pbmc68k_reduced()
    assert adata.obs["cell_type"].astype(str).tolist() == published.obs["bulk_labels"].astype(str).tolist()
    assert adata.obs_names.tolist() == published.obs_names.tolist()
    assert adata.var_names.tolist() == published.raw.var_names.tolist()


def test_each_call_gives_its_own_data() -> None:
    first = pbmc68k_reduced()
    first.X.data[:] = 0
    assert pbmc68k_reduced().X.max() > 0


def test_counts_come_back_whatever_the_smallest_one_is() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (30, 40)) * (rng.random((30, 40)) < 0.5)
    counts[0] *= 4  # no count of one
    counts[1] = 0  # an empty cell
    n_counts = counts.sum(axis=1) + 100
    values = np.log1p(counts * 1e4 / n_counts[:, None]).round(3).astype(np.float32)
    np.testing.assert_array_equal(_recover_counts(sp.csr_matrix(values), n_counts).toarray(), counts)


def test_values_that_are_not_log1p_of_counts_are_an_error() -> None:
    for values, n_counts in {
        "fractions": ([[1.0, 2.5]], [5000]),
        "more counts than in the cell": ([[np.log1p(2e4 / 50), np.log1p(60e4 / 50)]], [50]),
        "missing": ([[np.nan]], [50]),
        "negative": ([[-3.0]], [50]),
    }.values():
        with pytest.raises(ValueError, match="are not log1p"):
            _recover_counts(sp.csr_matrix(np.array(values)), np.array(n_counts))

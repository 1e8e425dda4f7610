"""Data made worse: what is left, and that it depends on the cell alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.bench_cells import counted_cells
from univerce.bench.degrade import degrade


def test_half_of_the_molecules_are_kept_whatever_the_order():
    adata = counted_cells(200, 400)
    half = degrade(adata, "half_counts")
    kept, n = half.X.toarray(), adata.X.toarray()
    assert (kept <= n).all()
    total = n.sum()
    assert abs(kept.sum() - total / 2) < 4 * np.sqrt(total / 4)
    assert np.var((kept - n / 2)[n > 0] / np.sqrt(n[n > 0] / 4)) == pytest.approx(1, abs=0.05)
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_array_equal(degrade(adata[order].copy(), "half_counts").X.toarray(), kept[order])
    assert (degrade(adata, "half_counts", rng=1).X != half.X).nnz > 0
    np.testing.assert_array_equal(adata.X.toarray(), n)


def test_a_panel_has_the_300_most_variable_genes():
    adata = counted_cells(200, 400)
    silent = np.arange(400) >= 320
    adata.X = adata.X.multiply(~silent[None]).tocsr()
    panel = degrade(adata, "gene_panel")
    assert panel.shape == (200, 300)
    assert not set(panel.var_names) & set(adata.var_names[silent])
    np.testing.assert_array_equal(panel.X.toarray(), adata[:, panel.var_names].X.toarray())


def test_few_cells_are_a_tenth_of_each_type_and_imbalance_keeps_all_to_a_twentieth():
    adata = counted_cells(900)
    few = degrade(adata, "few_cells", groupby="type")
    assert few.obs["type"].value_counts().tolist() == [30, 30, 30]
    sizes = degrade(adata, "imbalance", groupby="type").obs["type"].value_counts()
    assert sorted(sizes) == [15, 68, 300]
    other = adata[::-1].copy()
    assert set(degrade(other, "few_cells", groupby="type").obs_names) == set(few.obs_names)
    small = degrade(counted_cells(90), "few_cells", groupby="type")
    assert small.obs["type"].value_counts().tolist() == [10, 10, 10]


def test_what_cannot_be_done_is_refused():
    adata = counted_cells()
    with pytest.raises(ValueError, match="how='worse' is not known; use one of half_counts, gene_panel"):
        degrade(adata, "worse")
    with pytest.raises(ValueError, match="how='imbalance' needs the types: pass groupby="):
        degrade(adata, "imbalance")

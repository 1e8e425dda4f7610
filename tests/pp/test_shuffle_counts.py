"""uc.pp.shuffle_counts: what a shuffled cell keeps, and independence of the other cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import univerce as uc
from tests.helpers.tiny import tiny_cells
from univerce.pp.shuffle_counts import permuted


def test_a_shuffled_cell_keeps_its_counts_and_nothing_else():
    rng = np.random.default_rng(0)
    counts = sp.csr_matrix(rng.poisson(0.5, size=(40, 30)))
    columns = np.setdiff1d(np.arange(30), [4, 7])
    keys = np.arange(40, dtype=np.uint64)
    out = permuted(counts, columns, keys)
    assert out[:, [4, 7]].nnz == 0
    np.testing.assert_array_equal(
        np.sort(out.toarray()[:, columns], axis=1), np.sort(counts.toarray()[:, columns], axis=1)
    )
    assert (out != counts).nnz > 200
    many = permuted(sp.csr_matrix(np.tile([5, 1, 0, 0], (4000, 1))), np.arange(4), np.arange(4000))
    np.testing.assert_allclose(many.toarray().mean(axis=0), 1.5, atol=0.15)


def test_two_species_are_shuffled_over_their_own_genes_and_by_the_name_of_the_cell(tiny_model):
    human, mouse = tiny_cells("human", 12), tiny_cells("mouse", 9)
    adata = ad.concat([human, mouse], join="outer", fill_value=0)
    adata.obs_names = [f"cell {i}" for i in range(21)]
    adata.obs["organism"] = ["human"] * 12 + ["mouse"] * 9
    adata.layers["raw"] = adata.X.copy()
    adata.X = adata.X * 0.5
    before = adata.layers["raw"].copy()
    out = uc.pp.shuffle_counts(adata, model=tiny_model, layer="raw", rng=3)
    assert (adata.layers["raw"] != before).nnz == 0
    assert out.obs["organism"].equals(adata.obs["organism"])
    uc.pp.map_genes(adata, model=tiny_model, layer="raw")
    for k, species in enumerate(("human", "mouse")):
        rows = adata.obs["organism"].to_numpy() == species
        genes = adata.var[f"uce_gene_{species}"].to_numpy() != ""
        assert out.X[rows][:, ~genes].nnz == 0, k
        np.testing.assert_array_equal(
            np.sort(out.X[rows].toarray(), axis=1)[:, -genes.sum() :],
            np.sort(before[rows][:, genes].toarray(), axis=1),
        )
    some = adata[[15, 3, 7]].copy()
    again = uc.pp.shuffle_counts(some, model=tiny_model, layer="raw", rng=3)
    np.testing.assert_array_equal(again.X.toarray(), out.X[[15, 3, 7]].toarray())
    other = uc.pp.shuffle_counts(adata, model=tiny_model, layer="raw", rng=4)
    assert (other.X != out.X).nnz > 0


def test_values_that_are_no_counts_are_an_error(tiny_model):
    cells = tiny_cells("human", 5)
    cells.X = cells.X * 0.5
    with pytest.raises(ValueError, match="counts"):
        uc.pp.shuffle_counts(cells, "human", model=tiny_model)

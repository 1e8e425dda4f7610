"""Labels are read as text, so a label that is a number or a boolean is found under it, too."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import univerce as uc


@pytest.fixture
def cells() -> ad.AnnData:
    adata = uc.datasets.pbmc68k_reduced()[:240].copy()
    adata.obs = pd.DataFrame(index=adata.obs_names)
    adata.obs["leiden"] = np.arange(240) % 4
    adata.obs["sick"] = np.arange(240) % 6 < 3
    adata.obs["donor"] = np.arange(240) % 6
    adata.obs["found"] = np.arange(240) % 5 < 4
    adata.obsm["X_toy"] = np.random.default_rng(0).normal(size=(240, 4)) + 3 * np.eye(4)[adata.obs["leiden"]]
    return adata


REP = {"use_rep": "X_toy", "check_space": False}


def find(a, one):
    uc.tl.find_cells(a, a.copy(), groupby="leiden", groups=one(3), **REP)
    return a.obs["found_score"]


def compare(a, one):
    return uc.tl.compare_groups(a, condition_key="sick", control=one(False), groups=[one(True)])["log2_fold_change"]


def transfer(a, one):
    uc.tl.transfer_labels(a, a.copy(), groupby="leiden", allowed=[one(1), one(2)], **REP)
    return a.obs["leiden_transferred_confidence"]


def delete(a, one):
    some = a[:8].copy()
    uc.tl.delete_genes(some, ["CD79A"], groupby="leiden", toward=one(3))
    return pd.Series(np.asarray(some.obsm["deleted_toward"]).ravel())


@pytest.mark.parametrize("call", [find, compare, transfer, delete])
def test_a_number_means_the_label_of_its_text(call, cells):
    by_number, by_text = call(cells.copy(), lambda x: x), call(cells.copy(), str)
    pd.testing.assert_series_equal(by_number, by_text)
    assert by_number.notna().any()

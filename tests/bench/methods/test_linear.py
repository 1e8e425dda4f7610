"""The linear baseline, against scipy and scikit-learn on dense arrays."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.preprocessing import StandardScaler

import univerce as uc
from tests.helpers.bench_cells import counted_cells
from univerce.bench.methods.linear import METHOD, linear_features, relative_ranks


def test_ranks_are_those_of_scipy_with_ties_and_zeros():
    x = np.random.default_rng(0).poisson(1.0, size=(20, 15))
    above, zero = relative_ranks(sp.csr_matrix(x))
    np.testing.assert_allclose(above.toarray() + zero[:, None], rankdata(x, axis=1) / 15)


def test_features_are_those_of_a_pipeline_fitted_to_the_labeled_cells():
    adata = counted_cells(150, 60)
    labels = np.where(np.arange(150) < 100, adata.obs["type"].cat.codes, -1)
    known = labels >= 0
    ranks = rankdata(adata.X.toarray(), axis=1)
    chosen = SelectKBest(f_classif, k=20).fit(ranks[known], labels[known])
    scaler = StandardScaler().fit(chosen.transform(ranks)[known])
    z = scaler.transform(chosen.transform(ranks))
    expected = PCA(5, svd_solver="full").fit(z[known]).transform(z)
    found = linear_features(sp.csr_matrix(adata.X), labels, n_top_genes=20, n_comps=5)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=1e-3)


def test_labels_of_the_query_are_not_needed_and_the_reference_must_have_some():
    query, reference = counted_cells(90, seed=1, prefix="q"), counted_cells(120, seed=2, prefix="r")
    scores = uc.bench.run_transfer(query, reference, groupby="type", methods=["linear"], n_bootstrap=0)
    (accuracy,) = scores.query("method == 'linear' and metric == 'logistic accuracy'")["value"]
    assert accuracy > 0.9
    with pytest.raises(ValueError, match="pass groupby="):
        METHOD.embed(query, batch_key=None, groupby=None, rng=0)

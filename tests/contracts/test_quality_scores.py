"""The scores of ``tests/perf/quality.py`` on cases that are small enough to do by hand."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.dummy import DummyClassifier

from tests.perf import quality
from tests.perf.quality_sets import TRANSFERS, Side


def test_labels_with_few_cells_are_left_out_and_fewer_are_asked_for_when_nothing_would_be_left():
    labels = np.repeat(["a", "b", "c"], [12, 10, 9])
    assert quality.enough_cells(labels).sum() == 22
    labels = np.repeat(["a", "b", "c"], [12, 6, 4])
    assert quality.enough_cells(labels).sum() == 18  # one label of ten is none to tell from another
    with pytest.raises(ValueError, match="No two labels have 5"):
        quality.enough_cells(np.repeat(["a", "b"], [12, 4]))


def test_accuracy_counts_cells_and_f1_counts_labels():
    labels = np.array(["a", "a", "a", "b"])
    scores = quality.label_scores(labels, np.array(["a", "a", "a", "a"]))
    assert scores["accuracy"] == 0.75
    assert scores["macro F1"] == pytest.approx((2 * 0.75 / 1.75 + 0) / 2)
    # a label that was only predicted lowers the F1 of the true one and is no label of its own
    assert quality.label_scores(np.array(["a", "a"]), np.array(["a", "x"]))["macro F1"] == pytest.approx(2 / 3)


def test_separate_clusters_are_told_apart_within_a_set_and_noise_is_not():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 40)
    x = rng.normal(size=(80, 3))
    x[40:, 1] += 20
    for classifier in (quality.nearest_neighbors(), quality.logistic_regression()):
        assert quality.within(classifier, x, labels) == {"accuracy": 1.0, "macro F1": 1.0}
        assert quality.within(classifier, rng.normal(size=(80, 3)), labels)["accuracy"] < 0.75
    assert quality.within(DummyClassifier(), x, np.repeat(["a", "b"], [60, 20]))["accuracy"] == 0.75


def test_transfer_is_scored_on_labels_the_classifier_has_seen():
    x = np.repeat([[0.0], [10.0]], 20, axis=0)
    labels = np.repeat(["a", "b"], 20)
    test, labels_test = np.array([[0.1], [9.9], [0.0], [5.0]]), np.array(["a", "b", "b", "new"])
    scores = quality.across(quality.nearest_neighbors(), x, labels, test, labels_test)
    assert scores["accuracy"] == pytest.approx(2 / 3)


def test_a_regression_is_standardized_by_the_cells_it_is_trained_on():
    x = np.array([[0.0, 0.0], [0.0, 2.0], [1.0, 0.0], [1.0, 2.0]] * 5)
    fitted = quality.logistic_regression().fit(x, x[:, 0].astype(int))
    np.testing.assert_allclose(fitted[0].mean_, [0.5, 1.0])


def test_a_subset_keeps_the_shares_of_the_labels():
    labels = np.repeat(["a", "b"], [900, 100])
    some = quality.subset_for_logistic(labels, most=100)
    assert pd.Series(labels[some]).value_counts().to_dict() == {"a": 90, "b": 10}
    np.testing.assert_array_equal(some, quality.subset_for_logistic(labels, most=100))
    assert len(quality.subset_for_logistic(labels, most=1000)) == 1000


def test_cosines():
    a, b = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 0.0], [-3.0, 3.0]])
    np.testing.assert_allclose(quality.paired_cosine(a, b), [1, 0], atol=1e-12)
    x = np.array([[1.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    assert quality.mean_cosine(x) == pytest.approx((0 + 2 * np.sqrt(0.5)) / 3)


def test_a_share_of_the_expressed_genes_is_hidden_and_the_rest_is_as_before():
    counts = sp.random(6, 50, density=0.5, random_state=0, format="csr") * 9
    counts.data = np.ceil(counts.data)
    shown, hidden = quality.hide(counts, 0.2, np.random.default_rng(0))
    for i in range(6):
        before, after = counts[i].toarray()[0], shown[i].toarray()[0]
        assert len(hidden[i]) == round(0.2 * (before > 0).sum())
        assert (before[hidden[i]] > 0).all()
        before[hidden[i]] = 0
        np.testing.assert_array_equal(before, after)


def test_silent_genes_are_measured_and_have_no_count():
    counts = sp.csr_matrix(np.array([[1, 0, 0, 0, 2], [0, 0, 0, 0, 0]]))
    first, second = quality.silent_genes(counts, [2, 9], np.array([0, 1, 2, 4]), np.random.default_rng(0))
    assert sorted(first) == [1, 2]
    assert sorted(second) == [0, 1, 2, 4]


def test_auroc_of_a_cell_is_the_share_of_pairs_in_order():
    scores = np.array([[0.9, 0.1, 0.5, 0.5], [0.1, 0.9, 0.0, 0.0]])
    expressed, silent = [np.array([0, 2]), np.array([0])], [np.array([1, 3]), np.array([1])]
    # cell 0: 0.9 > 0.1, 0.9 > 0.5, 0.5 > 0.1, 0.5 = 0.5; cell 1: 0.1 < 0.9
    np.testing.assert_allclose(quality.cell_auroc(scores, expressed, silent), [3.5 / 4, 0])


def test_log_norm():
    counts = sp.csr_matrix(np.array([[1, 3], [0, 0]], dtype=np.int32))
    np.testing.assert_allclose(
        quality.log_norm(counts).toarray(), [[np.log1p(2500), np.log1p(7500)], [0, 0]], rtol=1e-6
    )


def test_variable_genes_are_those_that_vary():
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.linspace(1, 3, 400), size=(60, 400))
    varying = np.arange(47, 400, 40)
    counts[:30, varying], counts[30:, varying] = 0, 2 * counts[30:, varying]
    logs = sp.csr_matrix(np.log1p(counts).astype(np.float32))
    assert set(varying) <= set(quality.variable_genes(logs, 30))
    np.testing.assert_array_equal(quality.variable_genes(logs, 400), np.arange(400))


def test_components_are_those_of_the_first_matrix():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 8)), rng.normal(size=(5, 8))
    fitted, projected = quality.components(x, y, n=3)
    _, _, v = np.linalg.svd(x - x.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(fitted), np.abs((x - x.mean(0)) @ v[:3].T), atol=1e-8)
    np.testing.assert_allclose(np.abs(projected), np.abs((y - x.mean(0)) @ v[:3].T), atol=1e-8)
    assert quality.components(x[:4])[0].shape == (4, 3)


def test_shared_genes_occur_once_on_both_sides_in_one_order():
    a, b = quality.shared_genes(["Tp53", "ACTB", "x", "X", "KRT8"], ["krt8", "TP53", "X", "other"])
    assert (a.tolist(), b.tolist()) == ([4, 0], [0, 1])


def test_idf_is_averaged_over_the_sets_that_have_the_gene():
    one = quality.expressed_share(sp.csr_matrix(np.array([[1, 0, 3], [1, 0, 0]])), ["A", "B", "a"])
    assert one.to_dict() == {"A": 1.0, "B": 0.0}  # A and a are one name
    idf = quality.inverse_frequency([one, pd.Series({"A": 0.5, "C": 0.1})])
    np.testing.assert_allclose(idf[["A", "B", "C"]], [-np.log(0.75), np.log(1000), np.log(10)])


def test_a_bag_is_a_weighted_sum_of_directions():
    counts = sp.csr_matrix(np.array([[5, 5, 0, 90], [0, 0, 0, 7]]))
    features = np.array([[2.0, 0.0], [0.0, 3.0]])
    idf = pd.Series({"A": 1.0, "Z": 3.0, "Y": 3.0})
    bag = quality.bag_of_features(counts, np.array([0, 1, 1, -1]), features, ["a", "B"], idf)
    # both genes have 500 counts per 10,000; B is unknown and gets the median of 3
    np.testing.assert_allclose(bag[0], np.array([1, 3]) / np.sqrt(10), rtol=1e-6)
    np.testing.assert_array_equal(bag[1], 0)


def test_a_side_is_named_by_its_set_and_what_chooses_its_cells():
    assert Side("human_pbmc_facs_zheng").label == "human pbmc facs"
    assert Side("human_pbmc_ifnb_kang", None, "batch", "CTRL").label == "human pbmc ifnb CTRL"


@pytest.mark.parametrize("transfer", TRANSFERS, ids=lambda t: f"{t.kind}: {t.train.label} > {t.test.label}")
def test_the_tables_of_labels_name_labels_that_exist_and_share_types(transfer, test_data):
    """A label that is misspelled would leave its cells out without a word."""
    types = []
    for side in (transfer.train, transfer.test):
        obs = ad.read_h5ad(test_data / "eval" / f"{side.name}.h5ad", backed="r").obs
        labels = set(obs["cell_type"].astype(str))
        if side.column is not None:
            assert (obs[side.column].astype(str) == side.value).any()
        if side.types is not None:
            assert set(side.types) <= labels
            labels = set(side.types.values())
        types.append(labels)
    assert len(types[0]) > 1
    assert types[0] & types[1]
    assert transfer.one_way == (not len(types[0] & types[1]) > 1)

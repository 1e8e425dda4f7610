"""The classifiers against scikit-learn and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from tests.helpers.blobs import OneScale
from univerce.embeddings import classifiers
from univerce.embeddings.classifiers import (
    CLASSIFIERS,
    Centroids,
    Logistic,
    Neighbors,
    assign_folds,
    held_out_models,
)
from univerce.embeddings.neighbors import exact_neighbors, recall


def cells(n_classes: int, n: int = 120, n_dims: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    share = np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum()
    y = np.concatenate([np.arange(n_classes).repeat(4), rng.choice(n_classes, p=share, size=n - 4 * n_classes)])
    center = rng.normal(size=(n_classes, n_dims)) * np.geomspace(0.1, 10, n_dims)
    return (center[y] + rng.normal(size=(n, n_dims)) + 3).astype(np.float32), y


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_logistic_equals_the_pipeline_of_scikit_learn(n_classes, balanced):
    x, y = cells(n_classes)
    new, _ = cells(n_classes, seed=1)
    weight = "balanced" if balanced else None
    oracle = make_pipeline(OneScale(), LogisticRegression(max_iter=1000, class_weight=weight)).fit(x, y)
    found = np.exp(Logistic.fit(x, y, n_classes, balanced=balanced).log_proba(new))
    np.testing.assert_allclose(found, oracle.predict_proba(new), atol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=1), oracle.predict(new))


def test_a_large_fit_in_blocks_is_that_of_scikit_learn_from_any_start(monkeypatch):
    x, y = cells(7, n=400)
    kept = y != 3
    new, _ = cells(7, seed=1)
    oracle = make_pipeline(OneScale(), LogisticRegression(max_iter=5000, tol=1e-8)).fit(x[kept], y[kept])
    monkeypatch.setattr(classifiers, "_LARGE", 0)
    monkeypatch.setattr(classifiers, "_LARGE_TOLERANCE", 1e-6)
    other = Logistic.fit(x[y > 1] + 1, y[y > 1], 7)
    for start in (None, other):
        found = np.exp(Logistic.fit(x[kept], y[kept], 7, start=start).log_proba(new))
        np.testing.assert_allclose(np.delete(found, 3, axis=1), oracle.predict_proba(new), atol=2e-3)
        assert (found[:, 3] == 0).all()


def test_nearest_neighbors_vote_as_those_of_scikit_learn():
    x, y = cells(4)
    new, _ = cells(4, seed=1)
    oracle = KNeighborsClassifier(7, algorithm="brute").fit(x, y).predict_proba(new)
    found = np.exp(Neighbors.fit(x, y, 4, n_neighbors=7).log_proba(new))
    np.testing.assert_allclose(found, (oracle * 7 + 1 / 4) / (7 + 1))
    np.testing.assert_array_equal(found.argmax(axis=1), oracle.argmax(axis=1))


@pytest.mark.parametrize("search", ["ivf", "hnsw", "compressed"])
def test_an_index_votes_as_all_cells_do_where_it_finds_them(search):
    x, y = cells(4, n=600)
    new, _ = cells(4, n=200, seed=1)
    exact = Neighbors.fit(x, y, 4, n_neighbors=7)
    found = Neighbors.fit(x, y, 4, n_neighbors=7, search=search)
    found, reached = found.tuned(new)
    nearest, _ = found._index.search(new, 7, effort=found.effort)
    expected, _ = exact_neighbors(new, x, 7)
    assert recall(nearest, expected) == reached
    assert reached >= 0.98
    same = (np.sort(nearest) == np.sort(expected)).all(axis=1)
    assert same.mean() > 0.5
    np.testing.assert_array_equal(found.log_proba(new)[same], exact.log_proba(new)[same])


def test_neighbors_that_an_index_misses_have_no_vote(monkeypatch):
    x, y = cells(2)
    found = Neighbors.fit(x, y, 2, n_neighbors=3, search="ivf")
    index = found._index
    monkeypatch.setattr(type(index), "search", lambda *_, **__: (np.array([[5, 9, -1], [-1, -1, -1]]), None))
    votes = np.bincount(y[[5, 9]], minlength=2) + 0.5
    np.testing.assert_allclose(np.exp(found.log_proba(x[:2])), [votes / votes.sum(), [0.5, 0.5]])


@pytest.mark.parametrize("search", ["ivf", "hnsw", "compressed"])
def test_an_index_is_tuned_for_cells_of_another_place(search):
    """Cells between the clusters of the index need more effort than cells of the index."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(40, 16))[rng.integers(40, size=3000)] * 4 + rng.normal(size=(3000, 16))).astype(np.float32)
    new = rng.normal(scale=2.5, size=(200, 16)).astype(np.float32)
    model = Neighbors.fit(x, np.zeros(3000, int), 1, search=search)
    inside, _ = model.tuned(x[:200])
    ready, reached = model.tuned(new)
    exact, _ = exact_neighbors(new, x, 15)
    assert recall(ready._index.search(new, 15, effort=ready.effort)[0], exact) == reached
    assert reached >= 0.98 > recall(inside._index.search(new, 15, effort=inside.effort)[0], exact)


def test_more_neighbors_than_cells_are_all_cells():
    x, y = cells(2, n=10)
    found = np.exp(Neighbors.fit(x, y, 2, n_neighbors=99).log_proba(x[:3]))
    np.testing.assert_allclose(found, np.tile((np.bincount(y) + 0.5) / 11, (3, 1)))


def test_centroids_equal_a_plain_loop():
    x, y = cells(4)
    new, _ = cells(4, seed=1)
    center = [x[y == k].astype(float).mean(axis=0) for k in range(4)]
    for cell, found in zip(new[::10], np.exp(Centroids.fit(x, y, 4).log_proba(new[::10])), strict=True):
        score = np.array([np.exp(-np.sum((cell.astype(float) - c) ** 2) + 10) for c in center])
        np.testing.assert_allclose(found, score / score.sum(), atol=1e-12)


@pytest.mark.parametrize("method", CLASSIFIERS)
def test_a_class_without_cells_is_impossible(method):
    x, y = cells(3)
    kept = y != 1
    found = np.exp(CLASSIFIERS[method].fit(x[kept], y[kept], 4).log_proba(x))
    assert (found[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    pair = np.exp(CLASSIFIERS[method].fit(x[kept], y[kept] // 2, 2).log_proba(x))
    np.testing.assert_allclose(found[:, [0, 2]], pair, atol=1e-9)


def test_folds_without_groups_share_out_every_class():
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [2, 5, 13, 40]))
    folds = assign_folds(y, None, 5, 0)
    for k in range(4):
        sizes = np.bincount(folds[y == k], minlength=5)
        assert np.ptp(sizes) <= 1
    assert np.ptp(np.bincount(folds)) == 0


@pytest.mark.parametrize("n_groups", [2, 5, 12])
def test_folds_keep_groups_whole(n_groups):
    rng = np.random.default_rng(0)
    groups = rng.permutation([f"donor {i % n_groups}" for i in range(120)])
    folds = assign_folds(rng.integers(3, size=120), groups, 5, 2**63 - 1)
    assert all(len(set(folds[groups == g])) == 1 for g in set(groups))
    assert sorted(set(folds)) == list(range(min(n_groups, 5)))


@pytest.mark.parametrize("method", CLASSIFIERS)
def test_held_out_cells_were_never_seen(method):
    x, y = cells(3)
    folds = np.random.default_rng(0).integers(3, size=len(y))
    seen = 0
    for fold, (rows, model) in enumerate(held_out_models(method, x, y, 3, folds)):
        assert (folds[rows] == fold).all()
        train = folds != fold
        expected = CLASSIFIERS[method].fit(x[train], y[train], 3).log_proba(x)
        np.testing.assert_array_equal(model.log_proba(x), expected)
        seen += len(rows)
    assert seen == len(y)


def test_a_class_of_one_fold_cannot_be_held_out():
    x, y = cells(3)
    folds = np.where(y == 2, 0, np.arange(len(y)) % 3)
    rows = np.concatenate([rows for rows, _ in held_out_models("centroid", x, y, 3, folds)])
    assert sorted(rows) == np.flatnonzero(y != 2).tolist()
    only = [rows for rows, _ in held_out_models("centroid", x, y, 3, y)]
    assert [len(rows) for rows in only] == [0, 0, 0]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("method", CLASSIFIERS)
def test_cells_of_no_class_and_of_half_precision_are_read_without_a_copy(method, large, monkeypatch):
    monkeypatch.setattr(classifiers, "_LARGE", 0 if large else 2**22)
    x, y = cells(4, n=300)
    x, kept = x.astype(np.float16), np.arange(300) % 3 > 0
    expected = CLASSIFIERS[method].fit(x[kept].astype(np.float32), y[kept], 4).log_proba(x)
    found = CLASSIFIERS[method].fit(x, np.where(kept, y, -1), 4).log_proba(x)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_large_fit_weighs_classes_and_knows_two_as_scikit_learn(n_classes, balanced, monkeypatch):
    x, y = cells(n_classes, n=400)
    new, _ = cells(n_classes, seed=1)
    weight = "balanced" if balanced else None
    oracle = make_pipeline(OneScale(), LogisticRegression(max_iter=5000, tol=1e-8, class_weight=weight)).fit(x, y)
    monkeypatch.setattr(classifiers, "_LARGE", 0)
    monkeypatch.setattr(classifiers, "_LARGE_TOLERANCE", 1e-6)
    other = Logistic.fit(x[::2] + 1, y[::2], n_classes)
    for start in (None, other):
        found = np.exp(Logistic.fit(x, y, n_classes, balanced=balanced, start=start).log_proba(new))
        np.testing.assert_allclose(found, oracle.predict_proba(new), atol=2e-3)

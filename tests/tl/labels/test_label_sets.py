"""Label sets: coverage by simulation under known truth, and cutoffs by a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from univerce.tl.labels._rules import cross_sets, label_sets, set_cutoffs


def drawn(n: int, rng: np.random.Generator):
    truth = rng.choice(4, size=n, p=[0.6, 0.25, 0.1, 0.05])
    score = rng.normal(size=(n, 4))
    score[np.arange(n), truth] += [2.0, 1.0, 1.0, 0.5][0]
    proba = np.exp(score)
    return proba / proba.sum(axis=1, keepdims=True), truth


def test_the_cutoff_is_an_order_statistic():
    proba, truth = drawn(200, np.random.default_rng(0))
    cutoffs, own = set_cutoffs(proba, truth, 0.8)
    for k in range(4):
        mine = sorted(proba[i, k] for i in range(200) if truth[i] == k)
        n = sum((j + 1) / (len(mine) + 1) <= 0.2 + 1e-12 for j in range(len(mine)))
        assert own[k] == (n > 0)
        if own[k]:
            assert cutoffs[k] == mine[n - 1]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_each_label_is_covered_as_promised_over_many_draws(coverage):
    """Without the best label, exactly 1 - floor((n + 1)(1 - coverage)) / (n + 1) on average over calibration sets."""
    rng = np.random.default_rng(1)
    hits, expected = [[] for _ in range(4)], [[] for _ in range(4)]
    for _ in range(150):
        proba, truth = drawn(300, rng)
        cutoffs, own = set_cutoffs(proba, truth, coverage)
        new, new_truth = drawn(400, rng)
        inside = new[np.arange(400), new_truth] >= cutoffs[new_truth]
        sets = label_sets(new, cutoffs)
        assert (sets[np.arange(400), new_truth] == (inside | (new.argmax(axis=1) == new_truth))).all()
        for k in range(4):
            n = (truth == k).sum()
            if own[k] and (new_truth == k).any():
                hits[k].append(inside[new_truth == k].mean())
                expected[k].append(1 - np.floor((n + 1) * (1 - coverage) + 1e-9) / (n + 1))
    for k in range(4):
        assert np.mean(hits[k]) == pytest.approx(np.mean(expected[k]), abs=4 * np.std(hits[k]) / len(hits[k]) ** 0.5)
        assert np.mean(expected[k]) >= coverage


def test_a_label_of_few_cells_takes_the_cutoff_of_all():
    proba, truth = drawn(100, np.random.default_rng(0))
    truth[:] = np.where(truth == 3, 0, truth)
    truth[:3] = 3
    cutoffs, own = set_cutoffs(proba, truth, 0.9)
    true = np.sort(proba[np.arange(100), truth])
    assert own.tolist() == [True, True, True, False]
    assert cutoffs[3] == true[9]


def test_sets_of_a_fold_use_the_cutoffs_of_the_others_and_hold_the_best_but_nothing_impossible():
    proba, truth = drawn(90, np.random.default_rng(0))
    proba[:5, 2] = 0
    folds = np.arange(90) % 3
    sets = cross_sets(proba, truth, folds, 0.8)
    for fold in range(3):
        here = folds == fold
        cutoffs, _ = set_cutoffs(proba[~here], truth[~here], 0.8)
        best = proba[here] == proba[here].max(axis=1, keepdims=True)
        np.testing.assert_array_equal(sets[here], ((proba[here] >= cutoffs) & (proba[here] > 0)) | best)
    assert not sets[:5, 2].any()

"""Hierarchical scores against sets of ancestors, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest

from univerce.tl.labels.hierarchy import hierarchical_scores

LINES = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=bool)


def test_scores_by_hand():
    """CD4 called CD8: two of three terms shared; CD8 called B: one of two and one of three."""
    found = hierarchical_scores(LINES, np.array([0, 1, 2]), np.array([1, 2, 2]))
    assert found == pytest.approx(
        {
            "hierarchical_precision": 5 / 7, "hierarchical_recall": 5 / 8, "hierarchical_f1": 10 / 15,
            "hierarchical_f1_macro": np.mean([4 / 6, 2 / 5, 1]),
        }
    )  # fmt: skip


def test_scores_equal_a_plain_loop_and_cells_without_terms_do_not_count():
    rng = np.random.default_rng(0)
    truth, given = rng.integers(4, size=(2, 300))
    weights = rng.integers(1, 4, size=300)
    both = predicted = true = 0
    for t, g, w in zip(truth, given, weights, strict=True):
        if t == 3:
            continue
        mine, theirs = set(np.flatnonzero(LINES[t])), set(np.flatnonzero(LINES[g]))
        both, predicted, true = both + w * len(mine & theirs), predicted + w * len(theirs), true + w * len(mine)
    found = hierarchical_scores(LINES, truth, given, weights.astype(float))
    assert found["hierarchical_precision"] == pytest.approx(both / predicted)
    assert found["hierarchical_recall"] == pytest.approx(both / true)
    assert hierarchical_scores(LINES, truth, truth)["hierarchical_f1"] == 1

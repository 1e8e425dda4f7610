"""The tables of the model card, from scores that are known."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.labeled import card
from benchmarks.labeled.methods import BAG, EXPRESSION, PCA, PROJECTED, STRONG
from benchmarks.labeled.tasks import COLUMNS
from benchmarks.measurement import Run

METHODS = [("mini", 0), ("mini", 1), (BAG, -1), (PCA, -1), (EXPRESSION, -1)]


def frame(task: str, sets: list[str], measures: list[str], methods: list[tuple[str, int]]) -> pd.DataFrame:
    """Values are 0.1 for the first set, 0.3 for the second, and 0.01 more for each method."""
    rows = [
        (task, name, method, seed, measure, 0.1 + 0.2 * i + 0.01 * j)
        for i, name in enumerate(sets) for measure in measures for j, (method, seed) in enumerate(methods)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def scores():
    accuracy = ["kNN accuracy", "logistic accuracy"]
    pairs = ["species: a > b", "study: c > d"]
    return {
        "within_set": frame("within", ["fly_gut", "zebrafish"], accuracy, [*METHODS, (STRONG, -1)]),
        "other_set": frame("transfer", pairs, accuracy, [*METHODS, (PROJECTED, -1), (STRONG, -1)]),
        "integration": frame("scIB", ["brain"], ["Bio conservation", "Batch correction", "Total"], METHODS),
        "cells_of_a_gene": frame("cells of a gene", ["brain"], ["AUROC"], [("genes", -1), ("median", -1)]),
    }


def test_the_tables_hold_the_means_of_the_bundled_fit_and_leave_out_what_was_not_computed(scores, tmp_path):
    card.write(Run(None, tmp_path, tmp_path, {}), "mini", scores)
    text = (tmp_path / "quality.md").read_text()
    assert "| **within a set** | 0.200 | 0.220 | 0.230 |  | 0.240 |" in text
    assert "| species | 0.100 | 0.120 | 0.130 | 0.150 | 0.140 |" in text
    assert "| **total**, mean | 0.100 |  | 0.120 | 0.130 |" in text
    assert "| behind PCA | 0.030 | 0.020 |" in text  # seeds 0 and 1
    assert "| zebrafish, within | 0.300 | 0.310 |" in text
    assert text.count("thread") == 7  # tables

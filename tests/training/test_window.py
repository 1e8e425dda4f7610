"""Windows over counts on disk: bounded, complete, and a function of the step."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from tests.helpers.toy import toy_counts
from univerce.training import window
from univerce.training.window import InMemory, Window

N, BLOCK = 100, 8
COUNTS = toy_counts(N, 12, seed=3)
TRAINING = np.flatnonzero(np.arange(N) % 7 != 0)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("window") / "cells.h5ad"
    ad.AnnData(COUNTS).write_h5ad(path)
    return path


def opened(path: Path):
    return ad.read_h5ad(path, backed="r").X


def make(X, n_blocks: int = 3, pace: float = 4.0, **changes) -> Window:
    args = {"block_rows": BLOCK, "n_blocks": n_blocks, "cells_per_step": pace, "seed": [0, 0]} | changes
    return Window(X, TRAINING, **args)


def test_rows_in_memory_are_those_of_the_matrix():
    rows = InMemory(COUNTS, TRAINING)
    np.testing.assert_array_equal(rows.at(5), TRAINING)
    np.testing.assert_array_equal(rows.take(np.array([4, 1])).toarray(), COUNTS[[4, 1]].toarray())


def test_rows_come_in_the_requested_order(on_disk, monkeypatch):
    monkeypatch.setattr(window, "N_ALWAYS", 5)
    w = make(opened(on_disk))
    shown = w.at(0)
    rng = np.random.default_rng(0)
    for cells in (rng.choice(N, 60), shown[:4], w.at(None), rng.permutation(N)):
        np.testing.assert_array_equal(w.take(cells).toarray(), COUNTS[cells].toarray())


def test_a_window_holds_few_blocks_and_shows_every_training_cell_in_a_pass(on_disk):
    w = make(opened(on_disk))
    cells_in_a_block = len(TRAINING) / 13
    pace = 4 / cells_in_a_block
    seen, boundaries = set(), 0
    for step in range(int(13 / pace) + 1):
        shown = w.at(step)
        assert len(w._blocks) <= 3
        assert np.isin(shown, TRAINING).all()
        assert len(np.unique(shown)) == len(shown)
        boundaries += len(set(shown) - seen) > 0
        seen |= set(shown)
    assert seen == set(TRAINING)
    assert boundaries > 8  # block by block, not at once


def test_the_content_of_a_window_follows_from_the_step(on_disk):
    walked, jumped = make(opened(on_disk)), make(opened(on_disk))
    for step in range(40):
        shown = walked.at(step)
    np.testing.assert_array_equal(jumped.at(39), shown)
    assert not np.array_equal(make(opened(on_disk), seed=[1, 0]).at(39), shown)


def test_passes_have_different_orders(on_disk):
    w = make(opened(on_disk), n_blocks=1)
    orders = [[w._shown(13 * i + k)[0] for k in range(13)] for i in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(13))
    assert orders[0] != orders[1]


def test_blocks_that_fit_are_read_once(on_disk, monkeypatch):
    read = []
    iter_blocks = window.iter_blocks

    def recording(X, block_rows, *, blocks):
        read.extend(blocks if block_rows == BLOCK else [])
        return iter_blocks(X, block_rows, blocks=blocks)

    monkeypatch.setattr(window, "iter_blocks", recording)
    w = make(opened(on_disk), n_blocks=13)
    for step in (0, 1, 1000):
        np.testing.assert_array_equal(w.at(step), TRAINING)
    assert read == list(range(13))


def test_some_cells_are_always_in_memory(on_disk, monkeypatch):
    monkeypatch.setattr(window, "N_ALWAYS", 10)
    w = make(opened(on_disk))
    always = w.at(None)
    assert len(always) == 10
    assert np.isin(always, TRAINING).all()
    monkeypatch.setattr(window, "iter_blocks", lambda *_, **__: pytest.fail("read"))
    np.testing.assert_array_equal(w.take(always[[3, 1]]).toarray(), COUNTS[always[[3, 1]]].toarray())
    assert not w._blocks

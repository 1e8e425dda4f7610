"""Windows over counts on disk: bounded, complete, and a function of the step."""

from __future__ import annotations

import pickle
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import zarr

from tests.helpers.toy import toy_counts
from univerce.training import window
from univerce.training.window import InMemory, OnDisk, Window, open_counts

N, BLOCK = 100, 8
COUNTS = toy_counts(N, 12, seed=3)
TRAINING = np.flatnonzero(np.arange(N) % 7 != 0)


def write(path: Path, X) -> Path:
    adata = ad.AnnData(X, layers={"counts": X})
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
    else:
        ad.io.write_elem(zarr.open_group(path, mode="w", zarr_format=2), "/", adata)
    return path


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory) -> OnDisk:
    return OnDisk(write(tmp_path_factory.mktemp("window") / "cells.h5ad", COUNTS), "X")


def make(X, n_blocks: int = 3, pace: float = 4.0, **changes) -> Window:
    args = {"block_rows": BLOCK, "n_blocks": n_blocks, "cells_per_step": pace, "seed": [0, 0]} | changes
    return Window(X, TRAINING, **args)


@pytest.mark.parametrize("key", ["X", "layers/counts"])
@pytest.mark.parametrize(
    "name, X",
    [
        pytest.param("cells.h5ad", COUNTS, id="CSR in h5ad"),
        pytest.param("cells.h5ad", COUNTS.tocsc(), id="CSC in h5ad"),
        pytest.param("cells.h5ad", COUNTS.toarray(), id="dense in h5ad"),
        pytest.param("cells.zarr", COUNTS, id="CSR in zarr"),
        pytest.param("cells.zarr", COUNTS.toarray(), id="dense in zarr"),
    ],
)
def test_a_matrix_on_disk_is_read_wherever_it_is(tmp_path, name, X, key):
    counts = OnDisk(write(tmp_path / name, X), key)
    assert counts.shape == COUNTS.shape
    opened = pickle.loads(pickle.dumps(counts)).open()
    assert not sp.issparse(opened)
    cells = np.array([99, 3, 3, 50])
    np.testing.assert_array_equal(make(opened).take(cells).toarray(), COUNTS[cells].toarray())


def test_a_layer_that_is_not_there_is_named(on_disk):
    with pytest.raises(KeyError, match="has no layers/raw"):
        OnDisk(on_disk.path, "layers/raw").open()


@pytest.mark.parametrize(
    "X", [COUNTS, COUNTS.tocsc(), sp.csr_array(COUNTS), COUNTS.toarray()], ids=["CSR", "CSC", "array", "dense"]
)
def test_what_is_in_memory_becomes_csr(X):
    opened = open_counts(X)
    assert isinstance(opened, sp.csr_matrix)
    np.testing.assert_array_equal(opened.toarray(), COUNTS.toarray())
    rows = InMemory(opened, TRAINING)
    np.testing.assert_array_equal(rows.at(5), TRAINING)
    np.testing.assert_array_equal(rows.take(np.array([4, 1])).toarray(), COUNTS[[4, 1]].toarray())


def test_rows_come_in_the_order_asked_from_wherever_they_are(on_disk, monkeypatch):
    monkeypatch.setattr(window, "N_ALWAYS", 5)
    w = make(on_disk.open())
    shown = w.at(0)
    rng = np.random.default_rng(0)
    for cells in (rng.choice(N, 60), shown[:4], w.at(None), rng.permutation(N)):
        np.testing.assert_array_equal(w.take(cells).toarray(), COUNTS[cells].toarray())


def test_a_window_never_holds_more_blocks_than_it_may_and_shows_every_training_cell_in_a_pass(on_disk):
    w = make(on_disk.open())
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


def test_what_a_window_shows_follows_from_the_step_alone(on_disk):
    walked, jumped = make(on_disk.open()), make(on_disk.open())
    for step in range(40):
        shown = walked.at(step)
    np.testing.assert_array_equal(jumped.at(39), shown)
    assert not np.array_equal(make(on_disk.open(), seed=[1, 0]).at(39), shown)


def test_passes_have_different_orders(on_disk):
    w = make(on_disk.open(), n_blocks=1)
    orders = [[w._shown(13 * i + k)[0] for k in range(13)] for i in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(13))
    assert orders[0] != orders[1]


def test_what_fits_is_read_once_and_stays(on_disk, monkeypatch):
    read = []
    iter_blocks = window.iter_blocks

    def recording(X, block_rows, *, blocks):
        read.extend(blocks if block_rows == BLOCK else [])
        return iter_blocks(X, block_rows, blocks=blocks)

    monkeypatch.setattr(window, "iter_blocks", recording)
    w = make(on_disk.open(), n_blocks=13)
    for step in (0, 1, 1000):
        np.testing.assert_array_equal(w.at(step), TRAINING)
    assert read == list(range(13))


def test_some_cells_are_always_there_and_moving_is_not_needed_for_them(on_disk, monkeypatch):
    monkeypatch.setattr(window, "N_ALWAYS", 10)
    w = make(on_disk.open())
    always = w.at(None)
    assert len(always) == 10
    assert np.isin(always, TRAINING).all()
    monkeypatch.setattr(window, "iter_blocks", lambda *_, **__: pytest.fail("read"))
    np.testing.assert_array_equal(w.take(always[[3, 1]]).toarray(), COUNTS[always[[3, 1]]].toarray())
    assert not w._blocks

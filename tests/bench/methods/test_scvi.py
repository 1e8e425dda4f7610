"""scVI, scANVI and scArches: they learn, repeat themselves, and leave no trace in the process."""

from __future__ import annotations

import logging
import os
import random
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_score

import univerce as uc
from tests.helpers.typed_cells import typed_cells
from univerce.bench.method import find_method
from univerce.bench.methods._scvi import in_rows, place, seeded_scvi
from univerce.bench.methods.scarches import _reference

pytestmark = pytest.mark.slow

SCVI, SCANVI, SCARCHES = METHODS = [find_method(name) for name in ("scVI", "scANVI", "scArches")]
CALL = {"batch_key": "batch", "groupby": "type", "rng": 0, "max_epochs": 2}
each = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)


@pytest.fixture(autouse=True)
def _one_thread():
    """Matrices of this size are not worth two."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@each
def test_an_embedding_has_a_row_for_every_cell_and_says_how_long_it_trained(method):
    cells = typed_cells()
    got = method.embed(cells, **CALL)
    assert (got.shape, got.dtype) == ((120, 30), np.float32)
    assert np.isfinite(got).all()
    assert np.ptp(got, axis=0).min() > 0
    assert cells.uns["details"]["epochs"] == 2


@each
def test_the_same_seed_gives_the_same_embedding_and_another_another(method):
    first, again = (method.embed(typed_cells(), **CALL) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(method.embed(typed_cells(), **CALL | {"rng": 1}) - first).max() > 1e-3


@each
def test_nothing_of_the_process_is_changed(method, capfd, caplog, tmp_path, monkeypatch):
    import scvi
    import torch

    monkeypatch.chdir(tmp_path)

    def state():
        loggers = {n: (logging.getLogger(n).level, len(logging.getLogger(n).handlers)) for n in ("scvi", "lightning")}
        seeds = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
        return loggers, seeds, cudnn, dict(os.environ), scvi.settings.seed, warnings.filters[:]

    scvi.settings.seed = None
    before = state()
    with caplog.at_level("CRITICAL", logger="univerce"):
        method.embed(typed_cells(), **CALL)
    assert state() == before
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def _stop(torch):
    with seeded_scvi(0):
        torch.rand(3)
        raise RuntimeError("stop")


def test_generators_come_back_when_training_fails():
    import torch

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="stop"):
        _stop(torch)
    assert torch.equal(torch.get_rng_state(), before)


@each
def test_a_cell_without_counts_has_no_embedding_and_the_others_keep_theirs(method):
    got = method.embed(typed_cells(empty=(4, 77)), **CALL)
    assert np.flatnonzero(np.isnan(got).any(axis=1)).tolist() == [4, 77]
    assert np.isnan(got[[4, 77]]).all()


def test_rows_follow_the_names_of_the_cells():
    cells = typed_cells(n=4)
    latent = np.arange(6, dtype=np.float32).reshape(3, 2)
    got = in_rows(cells, cells.obs_names[[3, 0, 1]], latent)
    np.testing.assert_array_equal(got, [latent[1], latent[2], [np.nan, np.nan], latent[0]])


def test_scvi_trained_longer_tells_types_apart_and_batches_no_longer():
    cells = typed_cells(n=240)
    got = SCVI.embed(cells.copy(), **CALL | {"max_epochs": 30})
    assert silhouette_score(got, cells.obs["type"]) > 0.2
    assert silhouette_score(got, cells.obs["batch"]) < 0.1


def test_scvi_does_not_see_the_labels_and_needs_no_batches():
    got = SCVI.embed(typed_cells(), **CALL | {"groupby": None})
    np.testing.assert_array_equal(got, SCVI.embed(typed_cells(), **CALL))
    assert SCVI.embed(typed_cells(), **CALL | {"batch_key": None}).shape == (120, 30)


def test_the_labels_may_be_in_a_column_of_any_name():
    cells, renamed = typed_cells(), typed_cells()
    renamed.obs = renamed.obs.rename(columns={"batch": "label", "type": "batch"})
    expected = SCANVI.embed(cells, **CALL)
    got = SCANVI.embed(renamed, **CALL | {"batch_key": "label", "groupby": "batch"})
    np.testing.assert_array_equal(got, expected)


def test_training_stops_when_the_loss_no_longer_falls_or_warns(caplog, monkeypatch):
    monkeypatch.setattr("univerce.bench.methods._scvi._PATIENCE", 2)
    cells = typed_cells(n=40, n_genes=5)
    SCVI.embed(cells, **CALL | {"max_epochs": 400})
    assert 2 < cells.uns["details"]["epochs"] < 400
    assert "has not converged" not in caplog.text
    SCVI.embed(cells, **CALL)
    assert "SCVI has not converged after 2 epochs" in caplog.text


def test_scanvi_uses_the_labels_and_takes_cells_without_one():
    cells = typed_cells()
    cells.obs["type"] = cells.obs["type"].where(np.arange(120) % 3 > 0)
    got = SCANVI.embed(cells, **CALL)
    assert np.isfinite(got).all()
    assert np.abs(got - SCANVI.embed(typed_cells(), **CALL)).max() > 1e-4


def test_mapping_the_query_does_not_move_the_reference():
    """The embedding of the reference depends on nothing of the query but how many cells it has."""
    cells, other = typed_cells(), typed_cells()
    query = (cells.obs["batch"] == "b2").to_numpy()
    x = other.X.toarray()
    x[query] = np.random.default_rng(5).permutation(x[query], axis=1)
    other.X = x
    first, second = (SCARCHES.embed(c, **CALL, reference=["b0", "b1"]) for c in (cells, other))
    np.testing.assert_allclose(first[~query], second[~query], atol=1e-5)
    assert np.abs(first[query] - second[query]).max() > 1e-2


@pytest.mark.parametrize(
    "reference, expected",
    [(None, ["b", "a"]), (["c"], ["c"]), ("a", ["a"]), (["a", "c"], ["a", "c"])],
    ids=["the largest that hold half", "one", "text", "two"],
)
def test_the_reference_is_chosen(reference, expected):
    assert _reference(pd.Series(["b"] * 4 + ["a"] * 3 + ["c"] * 3), reference) == expected


@pytest.mark.parametrize(
    "method, change, message",
    [
        (SCARCHES, {"reference": ["x"]}, "'x' is not among them"),
        (SCARCHES, {"reference": []}, "some of them, but not all"),
        (SCARCHES, {"reference": ["b0", "b1", "b2"]}, "not all"),
        (SCARCHES, {"batch_key": None}, "scArches needs batches"),
        (SCANVI, {"groupby": None}, "scANVI needs labels: pass groupby="),
        (SCVI, {}, r"obs\['batch'\] is missing in 4 cells; scVI needs it in all"),
    ],
)
def test_what_a_method_cannot_use_is_an_error_with_a_fix(method, change, message):
    cells = typed_cells()
    if not change:
        cells.obs["batch"] = cells.obs["batch"].where(np.arange(120) > 3)
    with pytest.raises(ValueError, match=message):
        method.embed(cells, **CALL | change)


def test_the_device_of_the_settings_is_used():
    with uc.settings.override(device="cpu"):
        assert place() == {"accelerator": "cpu", "devices": 1}

"""The cache of embeddings and scores."""

from __future__ import annotations

import dataclasses
import inspect
import time
from pathlib import Path

import numpy as np
import pytest

import univerce as uc
from tests.helpers.bench_cells import BROKEN, NOISE, PLAIN, counted_cells, some_method
from univerce.bench import _cache, _runs
from univerce.bench._cache import cache_key, cached_numbers, data_digest
from univerce.bench._runs import run_method, visible
from univerce.bench.method import find_method


@pytest.fixture
def data():
    adata = counted_cells()
    return visible(adata, adata.X)


def run(method, data, cache: Path, **change):
    options = {"digest": data_digest(data), "batch_key": "batch", "groupby": "type", "seed": 0, "cache": cache} | change
    return run_method(method, data, **options)


def test_a_second_run_reads_the_embedding_and_what_it_cost(tmp_path, data):
    first, second = run(NOISE, data, tmp_path), run(NOISE, data, tmp_path)
    assert (first.cached, second.cached) == (False, True)
    np.testing.assert_array_equal(first.embedding, second.embedding)
    assert second.seconds == first.seconds
    assert not list(tmp_path.glob(".*"))


def test_the_key_depends_on_all_inputs(data, tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "w").write_text("1")
    method = dataclasses.replace(PLAIN, digest=lambda options: "digest")

    def key(method=method, data=data, **change):
        asked = {"batch_key": "batch", "groupby": "type", "seed": 0, "options": {"model": str(weights)}} | change
        return cache_key(method, data_digest(data), **asked)

    changed = data.copy()
    changed.X[0, 0] += 1
    renamed = data.copy()
    renamed.var_names = ["other", *renamed.var_names[1:]]
    relabeled = data.copy()
    relabeled.obs["batch"] = relabeled.obs["batch"].cat.rename_categories(["x", "y"])
    species = data.copy()
    species.uns["organism"] = "mouse"
    keys = [
        key(), key(seed=1), key(batch_key=None), key(groupby=None), key(options={}), key(data=changed),
        key(data=renamed), key(data=relabeled), key(data=species),
        key(method=dataclasses.replace(method, digest=lambda o: "another")),
        key(method=dataclasses.replace(method, name="other")),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]
    (weights / "w").write_text("2")
    assert key() != keys[0]


def test_a_closure_and_a_failed_run_are_not_cached(tmp_path, data):
    shift = 1.0
    method = some_method("closure", lambda adata, **_: adata.X.toarray() + shift)
    one = run(method, data, tmp_path)
    shift = 2.0
    two = run(method, data, tmp_path)
    np.testing.assert_array_equal(one.embedding + 1, two.embedding)
    assert run(BROKEN, data, tmp_path).embedding is None
    assert not list(tmp_path.iterdir())


def test_time_and_peak_memory_of_a_run_are_measured(tmp_path, data, monkeypatch):
    def touch(adata, **_):
        np.ones(25_000_000)  # 200 MB
        time.sleep(0.02)
        return np.ones((adata.n_obs, 2))

    found = run(some_method("touch", touch), data, None)
    assert found.seconds > 0.02
    assert np.isnan(found.peak_mb) or 190 < found.peak_mb < 260
    for name in ("_RESET", "_STATUS"):
        monkeypatch.setattr(_runs, name, tmp_path / "none" / "file")
    assert np.isnan(run(some_method("touch", touch), data, None).peak_mb)


def test_a_method_cannot_change_the_cells_of_the_next(tmp_path, data):
    def vandal(adata, **_):
        adata.X = adata.X * 0
        adata.obs["type"] = "none"
        return np.ones((adata.n_obs, 2))

    before = data_digest(data)
    run(some_method("vandal", vandal), data, tmp_path)
    assert data_digest(data) == before


def test_numbers_are_computed_once_for_the_same_arrays(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"a": 0.1, "b": float("nan")}

    x = np.arange(4.0)
    for _ in range(2):
        found = cached_numbers(tmp_path, [x], compute)
        assert found["a"] == 0.1
        assert np.isnan(found["b"])
    assert len(calls) == 1
    cached_numbers(tmp_path, [x.astype(np.float32)], compute)
    cached_numbers(None, [x], compute)
    assert len(calls) == 3


def test_a_second_benchmark_reads_the_cache(tmp_path):
    adata, again = counted_cells(), counted_cells()
    options = {"groupby": "type", "batch_key": "batch", "methods": [NOISE, PLAIN], "seeds": [0, 1], "scib": False}
    one = uc.bench.run(adata, cache=tmp_path, **options)
    two = uc.bench.run(again, cache=tmp_path, **options)
    assert again.uns["benchmark"]["runs"]["cached"].all()
    same = one["kind"] != "cost"
    np.testing.assert_array_equal(one["value"][same], two["value"][same])


def test_the_key_depends_on_shared_code(monkeypatch):
    harmony, uce = (find_method(name).embed.__module__ for name in ("Harmony", "UCE"))
    before = _cache._code(harmony), _cache._code(uce)
    read = inspect.getsource

    def changed(module):
        text = read(module)
        return text + "\nCHANGED = 1\n" if module.__name__.endswith("bench._expression") else text

    monkeypatch.setattr(inspect, "getsource", changed)
    after = _cache._code(harmony), _cache._code(uce)
    assert after[0] != before[0]
    assert after[1] == before[1]

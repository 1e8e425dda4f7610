"""uc.tl.uce_embed on the workers of a dask cluster, some of which are killed."""

from __future__ import annotations

import importlib
import os
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest

import univerce as uc
from tests.helpers.files import contents
from tests.helpers.tiny import tiny_cells, tiny_table
from univerce.inference import inputs
from univerce.inference import workers as engine
from univerce.io.workers import map_blocks

pytest.importorskip("distributed", reason="needs the extra dask")
from distributed import default_client

pytestmark = pytest.mark.slow
module = importlib.import_module("univerce.tl.uce_embed")

N, BLOCK, EMPTY = 60, 8, (3, 41)
N_BLOCKS = 8


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", BLOCK)
    with uc.settings.override(progress=False):
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The same cells as h5ad and zarr."""
    directory, cells = tmp_path_factory.mktemp("cells"), tiny_cells(n=N, empty=EMPTY)
    cells.write_h5ad(directory / "cells.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of newer releases, about the format of zarr
        cells.write_zarr(directory / "cells.zarr")
    return directory


def backed(files: Path) -> ad.AnnData:
    return ad.read_h5ad(files / "cells.h5ad", backed="r")


def lazy(files: Path, name: str) -> ad.AnnData:
    pytest.importorskip("xarray", reason="anndata reads lazily with xarray")
    return ad.experimental.read_lazy(files / name)


def graph(files: Path) -> ad.AnnData:
    """A dask array that no file holds as it is, in chunks across the blocks and across the genes."""
    import dask.array as da

    cells = backed(files).to_memory()
    cells.X = da.from_array(cells.X.toarray() - 1, chunks=(13, 20)) + 1
    return cells


def embedded(adata: ad.AnnData, model: Path, **options: Any) -> np.ndarray:
    with pytest.warns(UserWarning, match="2 of 60 cells"):
        uc.tl.uce_embed(adata, model=model, **options)
    return adata.obsm["X_uce"]


def test_workers_give_the_bytes_of_this_process(files, tiny_model, client):
    here = embedded(backed(files), tiny_model)
    cells = backed(files), lazy(files, "cells.h5ad"), lazy(files, "cells.zarr"), graph(files), backed(files).to_memory()
    for adata in cells:
        assert embedded(adata, tiny_model, client=client).tobytes() == here.tobytes()


def test_options_and_several_species_reach_the_workers(files, tiny_model, client, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 25)
    for options in ({"n_draws": 3}, {"padding": "official", "rng": 7}):
        here, there = backed(files), backed(files)
        values = embedded(here, tiny_model, **options)
        assert embedded(there, tiny_model, client=client, **options).tobytes() == values.tobytes()
        assert there.uns["univerce"] == here.uns["univerce"]
        assert there.obs.equals(here.obs)
    cells = ad.concat([tiny_cells("human", 20), tiny_cells("zebrafish", 20)], join="outer", fill_value=0)
    cells.obs["organism"] = ["human"] * 20 + ["zebrafish"] * 20
    cells = cells[np.random.default_rng(0).permutation(40)].copy()
    values = uc.tl.uce_embed(cells, species="organism", model=tiny_model, copy=True).obsm["X_uce"]
    uc.tl.uce_embed(cells, species="organism", model=tiny_model, client=client)
    assert cells.obsm["X_uce"].tobytes() == values.tobytes()


def in_store(files: Path, model: Path, path: Path, **options: Any) -> dict[str, bytes]:
    with pytest.warns(UserWarning, match="2 of 60 cells"):
        uc.tl.uce_embed(backed(files), model=model, store=path, **options)
    return contents(path)


def test_workers_write_the_same_store_and_digest_the_counts(files, tiny_model, client, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_DIGEST_ROWS", 7)
    monkeypatch.setattr(inputs, "_DIGEST_SPAN", 2)
    monkeypatch.chdir(tmp_path)
    here = in_store(files, tiny_model, Path("here.zarr"))
    monkeypatch.setattr(inputs, "read_ahead", lambda *_, **__: pytest.fail("this process must read no counts"))
    monkeypatch.setattr(engine.EmbeddingStore, "write", lambda *_: pytest.fail("this process must write no block"))
    assert in_store(files, tiny_model, Path("there.zarr"), client=client) == here
    other = backed(files).to_memory()
    other.X[50, 3] += 1
    other.write_h5ad("other.h5ad")
    other = ad.read_h5ad("other.h5ad", backed="r")
    with pytest.raises(ValueError, match="inputs_digest was"):
        uc.tl.uce_embed(other, model=tiny_model, store="there.zarr", client=client)


def test_only_missing_blocks_are_sent(files, tiny_model, client, tmp_path, monkeypatch):
    path = tmp_path / "s.zarr"
    whole = in_store(files, tiny_model, path)
    for k in (2, 7):
        (path / "univerce-blocks" / f"{k}.sha256").unlink()
    sent = []

    def recording(client, work, items, *, name):
        items = list(items)
        sent.extend(k for k, *_ in items)
        return map_blocks(client, work, items, name=name)

    monkeypatch.setattr(engine, "map_blocks", recording)
    assert in_store(files, tiny_model, path, client=client) == whole
    assert sent == [2, 7]


class Dying:
    """Work that records the blocks it begins, and kills its process during one, the first time."""

    def __init__(self, work: Any, block: int, begun: Path) -> None:
        self.work, self.block, self.begun = work, block, begun

    def __call__(self, k: int, *item: Any) -> Any:
        if not (Path(self.work.store) / "univerce-blocks" / f"{k}.sha256").exists():
            with (self.begun / str(k)).open("a") as file:
                file.write("x")
            if k == self.block and (self.begun / str(k)).stat().st_size == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.work(k, *item)


def test_only_the_blocks_of_a_killed_worker_are_repeated(files, tiny_model, client, tmp_path, monkeypatch):
    whole = in_store(files, tiny_model, tmp_path / "here.zarr")
    begun = tmp_path / "begun"
    begun.mkdir()

    def deadly(client, work, items, *, name):
        return map_blocks(client, Dying(work, 5, begun), items, name=name)

    monkeypatch.setattr(engine, "map_blocks", deadly)
    pids = set(client.run(os.getpid).values())
    assert in_store(files, tiny_model, tmp_path / "there.zarr", client=client) == whole
    times = {int(file.name): file.stat().st_size for file in begun.iterdir()}
    assert sorted(times) == list(range(N_BLOCKS))
    assert times[5] == 2
    again = [k for k, n in times.items() if n > 1]
    assert len(again) <= 2, f"a worker has two threads, but {again} were repeated"
    client.wait_for_workers(2, timeout=60)
    assert len(set(client.run(os.getpid).values()) - pids) == 1, "one worker was killed and restarted"


def test_a_process_loads_the_model_once(files, tiny_model, client):
    def forget() -> None:
        from univerce.inference.workers import _encoder

        _encoder.cache_clear()

    def loaded() -> int:
        from univerce.inference.workers import _encoder

        return _encoder.cache_info().misses

    client.run(forget)
    for seed in range(2):
        embedded(backed(files), tiny_model, client=client, rng=seed)
    assert sum(client.run(loaded).values()) >= 1
    assert max(client.run(loaded).values()) == 1


def test_only_a_dask_array_uses_the_active_client(files, tiny_model, client, monkeypatch):
    with pytest.raises(ValueError, match="No clients found"):
        default_client()
    here = embedded(graph(files), tiny_model)
    monkeypatch.setattr(module, "embed_here", lambda *_, **__: pytest.fail("embedded in this process"))
    with client.as_current():
        assert embedded(graph(files), tiny_model).tobytes() == here.tobytes()
        with pytest.raises(pytest.fail.Exception, match="embedded in this process"):
            uc.tl.uce_embed(backed(files), model=tiny_model)


def test_an_error_of_a_worker_is_raised_here(files, tiny_model, client, monkeypatch):
    def wrong(client, work, items, *, name):
        model = replace(work.inputs.model, digest="0" * 64)
        other = replace(work, inputs=replace(work.inputs, model=model))
        return map_blocks(client, other, items, name=name)

    with pytest.raises(TypeError, match=r"client must be a dask.distributed.Client, not a str"):
        uc.tl.uce_embed(backed(files), model=tiny_model, client="tcp://127.0.0.1:8786")
    monkeypatch.setattr(engine, "map_blocks", wrong)
    with pytest.raises(ValueError, match=r"differs on the worker .*All workers must see the same files"):
        uc.tl.uce_embed(backed(files), model=tiny_model, client=client)


def test_a_given_table_is_sent_to_the_workers(files, tiny_model, client, tmp_path):
    table = tiny_table("human", seed=5)
    usual = embedded(backed(files), tiny_model)
    here = embedded(backed(files), tiny_model, species=table)
    assert not np.array_equal(here, usual, equal_nan=True)
    for given in (table, uc.genes.write_table(table, tmp_path / "human.h5ad")):
        assert embedded(backed(files), tiny_model, client=client, species=given).tobytes() == here.tobytes()
    assert embedded(backed(files), tiny_model, client=client).tobytes() == usual.tobytes(), "workers keep both"

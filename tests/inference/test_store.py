"""The resumable store: incomplete, damaged, and with other inputs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr

from tests.helpers.files import contents
from univerce.inference.store import MANIFEST, EmbeddingStore
from univerce.io.atomic import scratch

ROOT = Path(__file__).parents[2]
N, DIM, ROWS = 23, 6, 5
NAMES = [f"cell {i}" for i in range(N)]
FINGERPRINT = {"model": "abc", "seed": 0, "sampling": "systematic", "shape": (N, 100)}


def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)


def opened(path: Path, **changes: Any) -> EmbeddingStore:
    arguments = {"key": "X_uce", "obs_names": NAMES, "dim": DIM, "block_rows": ROWS, "fingerprint": FINGERPRINT}
    return EmbeddingStore.open(path, **(arguments | changes))


def fill(store: EmbeddingStore) -> None:
    for k in store.missing():
        store.write(k, values()[store.rows(k)])


def test_a_complete_store_is_an_anndata(tmp_path: Path) -> None:
    store = opened(tmp_path / "s.zarr")
    fill(store)
    assert not store.is_complete
    obs = pd.DataFrame({"mapped": np.linspace(0, 1, N), "kind": pd.Categorical(["a", "b"] * 11 + ["a"])}, index=NAMES)
    store.finish({"seed": 0, "model": "abc"}, obs)
    assert store.is_complete
    adata = ad.read_zarr(tmp_path / "s.zarr")
    np.testing.assert_array_equal(adata.obsm["X_uce"], values())
    assert adata.obsm["X_uce"].dtype == np.float32
    assert list(adata.obs_names) == NAMES
    pd.testing.assert_frame_equal(adata.obs, obs)
    assert adata.uns["univerce"]["X_uce"] == {"seed": 0, "model": "abc"}
    array = zarr.open_group(tmp_path / "s.zarr", mode="r")["obsm/X_uce"]
    assert array.chunks == (ROWS, DIM)


def test_blocks_can_be_written_in_any_order_and_type(tmp_path: Path) -> None:
    store = opened(tmp_path / "s")
    for k in (3, 0, 4, 2, 1):
        store.write(k, values()[store.rows(k)].astype(np.float64))
        np.testing.assert_array_equal(store.read(k), values()[store.rows(k)])
    assert store.missing() == []


def test_a_store_that_lacks_blocks_opens_only_as_a_store(tmp_path: Path) -> None:
    store = opened(tmp_path / "s")
    store.write(1, values()[5:10])
    with pytest.raises(FileNotFoundError):
        ad.read_zarr(tmp_path / "s")
    with pytest.raises(ValueError, match=r"4 of 5 blocks are missing: \[0, 2, 3, 4\]"):
        store.finish({})
    with pytest.raises(ValueError, match=r"Block 0 .* missing or damaged"):
        store.read(0)


@pytest.mark.slow
def test_two_processes_complete_one_store(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_store import opened, values
store = opened(Path({path!r}))
for k in range({first}, store.n_blocks, 2):
    store.write(k, values()[store.rows(k)])
"""
    tests, store = str(Path(__file__).parent), opened(tmp_path / "s")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code.format(tests=tests, path=str(tmp_path / "s"), first=first)], cwd=ROOT
        )
        for first in (0, 1)
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert store.missing() == []
    store.finish({"seed": 0})
    whole = opened(tmp_path / "whole")
    fill(whole)
    whole.finish({"seed": 0})
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_a_damaged_or_missing_chunk_or_marker_is_written_again(tmp_path: Path) -> None:
    store = opened(tmp_path / "s")
    fill(store)
    store.finish({"seed": 0})
    before = contents(tmp_path / "s")
    chunks, data = tmp_path / "s" / "obsm" / "X_uce", (tmp_path / "s" / "obsm" / "X_uce" / "2.0").read_bytes()
    for damaged in (bytes([data[0] ^ 1]) + data[1:], data[:-5], b""):
        (chunks / "2.0").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"Block 2 .* damaged"):
            store.read(2)
        store = opened(tmp_path / "s")
        assert store.missing() == [2]
        assert not store.is_complete
        fill(store)
        assert store.is_complete
    (chunks / "0.0").unlink()
    (tmp_path / "s" / "univerce-blocks" / "4.sha256").unlink()
    assert opened(tmp_path / "s").missing() == [0, 4]
    fill(opened(tmp_path / "s"))
    assert contents(tmp_path / "s") == before
    shutil.rmtree(tmp_path / "s" / "univerce-blocks")
    fill(opened(tmp_path / "s"))
    assert contents(tmp_path / "s") == before


def test_what_a_dead_worker_left_among_the_blocks_is_gone_when_the_store_is_finished(tmp_path: Path) -> None:
    store = opened(tmp_path / "s")
    fill(store)
    code = """
import os, sys
from univerce.io.atomic import scratch
with scratch(sys.argv[1]) as chunk, scratch(sys.argv[2]):
    (chunk / "1.0").write_bytes(b"half")
    os._exit(0)  # as if killed
"""
    blocks = [tmp_path / "s" / "obsm" / "X_uce" / "1.0", tmp_path / "s" / "univerce-blocks" / "1.sha256"]
    subprocess.run([sys.executable, "-c", code, *map(str, blocks)], check=True)
    assert [len(list(block.parent.glob(".*.part"))) for block in blocks] == [1, 1]
    with scratch(blocks[0]) as mine:
        store.finish({"seed": 0})
        assert mine.is_dir(), "of a writer that lives"
    whole = opened(tmp_path / "whole")
    fill(whole)
    whole.finish({"seed": 0})
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert not list(tmp_path.rglob(".*.part"))


def test_a_store_of_other_inputs_is_refused_with_what_differs(tmp_path: Path) -> None:
    fill(opened(tmp_path / "s"))
    before = contents(tmp_path / "s")
    for changes, message in (
        ({"fingerprint": FINGERPRINT | {"padding": "masked"}}, "padding was None and is 'masked'"),
        ({"fingerprint": FINGERPRINT | {"seed": 1, "model": "x"}}, "model was 'abc' and is 'x'; seed was 0"),
        ({"obs_names": NAMES[::-1]}, "store obs_names was"),
        ({"obs_names": NAMES[:-1]}, "store n_obs was 23 and is 22"),
        ({"key": "X_other"}, "store key was 'X_uce' and is 'X_other'"),
        ({"block_rows": 4}, "store block_rows was 5 and is 4"),
        ({"fingerprint": FINGERPRINT | {"dim": 6}, "dim": 7}, "store dim was 6 and is 7"),
    ):
        with pytest.raises(ValueError, match="started from other inputs") as error:
            opened(tmp_path / "s", **changes)
        assert message in str(error.value)
    assert contents(tmp_path / "s") == before


def test_numbers_of_numpy_and_tuples_are_the_same_inputs(tmp_path: Path) -> None:
    opened(tmp_path / "s")
    opened(tmp_path / "s", fingerprint=FINGERPRINT | {"seed": np.int64(0), "shape": [N, 100]})
    with pytest.raises(TypeError, match="JSON values, not set"):
        opened(tmp_path / "s", fingerprint={"genes": {1}})


def test_only_an_empty_directory_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    zarr.open_group(tmp_path / "zarr", mode="w", zarr_format=2)
    for name, manifest in (("other", json.dumps({"format": "x"})), ("unreadable", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / MANIFEST).write_text(manifest)
    before = contents(tmp_path)
    for name in ("file", "zarr", "other", "unreadable"):
        with pytest.raises(ValueError, match="not a store of embeddings"):
            opened(tmp_path / name)
    assert contents(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert opened(tmp_path / "empty").missing() == [0, 1, 2, 3, 4]


def test_a_small_block_is_not_padded_and_no_cells_make_a_complete_store(tmp_path: Path) -> None:
    store = opened(tmp_path / "s", obs_names=["a", "b"], block_rows=4096)
    store.write(0, np.ones((2, DIM)))
    store.finish({})
    assert (tmp_path / "s" / "obsm" / "X_uce" / "0.0").stat().st_size == 2 * DIM * 4
    np.testing.assert_array_equal(ad.read_zarr(tmp_path / "s").obsm["X_uce"], np.ones((2, DIM)))
    store = opened(tmp_path / "t", obs_names=[])
    assert store.missing() == []
    store.finish({"seed": 0})
    assert ad.read_zarr(tmp_path / "t").obsm["X_uce"].shape == (0, DIM)


def test_wrong_shapes_blocks_keys_and_cells_are_refused(tmp_path: Path) -> None:
    store = opened(tmp_path / "s")
    with pytest.raises(ValueError, match=r"Block 4 has the shape \(3, 6\), not \(5, 6\)"):
        store.write(4, np.zeros((5, DIM)))
    with pytest.raises(ValueError, match="has no block 5; it has 5"):
        store.write(5, np.zeros((5, DIM)))
    with pytest.raises(ValueError, match="has no block -1"):
        store.read(-1)
    with pytest.raises(ValueError, match="without a slash"):
        opened(tmp_path / "t", key="a/b")
    fill(store)
    with pytest.raises(ValueError, match="not the obs_names"):
        store.finish({}, pd.DataFrame(index=NAMES[::-1]))

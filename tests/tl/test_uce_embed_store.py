"""uc.tl.uce_embed with store=: killed, resumed, mixed up."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import torch

import univerce as uc
from tests.helpers.tiny import tiny_cells, tiny_table, write_tiny_model
from univerce.inference import runtime

module = importlib.import_module("univerce.tl.uce_embed")

EMPTY = (2, 17)
N, BLOCK = 30, 8
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", BLOCK)
    with uc.settings.override(progress=False):
        yield


@pytest.fixture
def cells() -> ad.AnnData:
    return tiny_cells(n=N)


def files(path: Path) -> dict[str, str]:
    """SHA-256 of every file below ``path``."""
    found = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


def times(path: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in path.rglob("*")}


def test_a_store_holds_what_memory_would_byte_for_byte(tiny_model, tmp_path):
    cells = tiny_cells(n=N, empty=EMPTY)
    with pytest.warns(UserWarning, match="2 of 30 cells"):
        assert uc.tl.uce_embed(cells, model=tiny_model, store=tmp_path / "s.zarr", key_added="e") is None
    assert not cells.obsm
    assert cells.obs.columns.empty
    with pytest.warns(UserWarning, match="2 of 30 cells"):
        uc.tl.uce_embed(cells, model=tiny_model, key_added="e")
    stored = ad.read_zarr(tmp_path / "s.zarr")
    assert stored.obsm["e"].tobytes() == cells.obsm["e"].tobytes()
    assert stored.obsm["e"].dtype == cells.obsm["e"].dtype
    assert list(stored.obs_names) == list(cells.obs_names)
    assert stored.obs["e_missing"].tolist() == cells.obs["e_missing"].tolist()
    params = stored.uns["e"]["params"]
    assert {**params, "species": list(params["species"])} == cells.uns["e"]["params"]
    uc.tl.check_same_space(stored, cells, use_rep="e")


# Each child dies before the file number POINT gets its name, that is, at any place between two files of the store.
_KILL = """
import importlib, os, signal, sys
import univerce as uc
from tests.helpers.tiny import tiny_cells
from univerce.genes.names import bundled_names
bundled_names()  # read once, for all children
module = importlib.import_module("univerce.tl.uce_embed")
module.BLOCK_ROWS = int(sys.argv[3])
sync, written = os.fsync, 0

def dying(descriptor):
    global written
    if written == point:
        os.kill(os.getpid(), signal.SIGKILL)
    written += 1
    sync(descriptor)

os.fsync = dying
for point in map(int, sys.argv[4:]):
    child = os.fork()
    if child == 0:
        uc.tl.uce_embed(tiny_cells(n=30), model=sys.argv[1], store=f"{sys.argv[2]}/{point}.zarr")
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    print(point, -os.waitstatus_to_exitcode(status))
"""
# 3 files create the store, 2 are written for each of the 4 blocks, the last one by finish()
KILLED_AT = {
    1: "while the store is created",
    4: "between a block and its marker",
    7: "in the middle",
    11: "before the last file",
}


@pytest.fixture(scope="module")
def killed(tiny_model, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", _KILL, tiny_model, directory, BLOCK, *KILLED_AT]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines() == [f"{point} 9" for point in KILLED_AT], done.stderr
    return directory


@pytest.fixture
def _one_thread():
    """The killed processes have one thread, and sums round differently when threads share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes made by os.fork")
@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("point", KILLED_AT, ids=KILLED_AT.values())
def test_a_killed_call_is_taken_up_by_the_same_call(cells, tiny_model, tmp_path, killed, monkeypatch, point):
    uc.tl.uce_embed(cells, model=tiny_model, store=tmp_path / "whole.zarr")
    path = killed / f"{point}.zarr"
    n_done = max(0, (point - 3) // 2)
    assert path.exists() == (point >= 3)
    if path.exists():
        assert len(list(path.glob("univerce-blocks/*.sha256"))) == n_done
        assert not (path / ".zattrs").exists() or point == 11, "an unfinished store is no AnnData"
    embedded = []
    embed_blocks = runtime.embed_blocks

    def recording(*arguments):
        for block in embed_blocks(*arguments):
            embedded.append(block.rows.start // BLOCK)
            yield block

    monkeypatch.setattr(runtime, "embed_blocks", recording)
    uc.tl.uce_embed(cells, model=tiny_model, store=path)
    assert embedded == list(range(n_done, 4)), "what is done is not done again"
    assert files(path) == files(tmp_path / "whole.zarr")
    assert ad.read_zarr(path).obsm["X_uce"].shape == (N, 10)


def test_a_complete_store_is_left_as_it_is(tiny_model, tmp_path, monkeypatch):
    cells = tiny_cells(n=N, empty=EMPTY)
    path = tmp_path / "s.zarr"
    with pytest.warns(UserWarning, match="2 of 30 cells"):
        uc.tl.uce_embed(cells, model=tiny_model, store=path)
    before = files(path), times(path)
    monkeypatch.setattr(runtime, "read_network", lambda *a, **k: 1 / 0)
    with pytest.warns(UserWarning, match="2 of 30 cells"):
        uc.tl.uce_embed(cells, model=tiny_model, store=path)
    assert (files(path), times(path)) == before


def test_a_damaged_block_is_computed_again(cells, tiny_model, tmp_path):
    path = tmp_path / "s.zarr"
    uc.tl.uce_embed(cells, model=tiny_model, store=path)
    before = files(path)
    chunk = path / "obsm" / "X_uce" / "2.0"
    data = bytearray(chunk.read_bytes())
    data[5] ^= 1
    chunk.write_bytes(bytes(data))
    uc.tl.uce_embed(cells, model=tiny_model, store=path)
    assert files(path) == before


def _one_more_count(cells: ad.AnnData) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sp.SparseEfficiencyWarning)
        cells.X[12, 0] += 1
    return cells


def _same(cells: ad.AnnData) -> ad.AnnData:
    return cells


def _bfloat16(cells: ad.AnnData) -> ad.AnnData:
    uc.settings.precision = "bfloat16"
    return cells


@pytest.mark.parametrize(
    "change, options, said",
    [
        pytest.param(_one_more_count, {}, "inputs_digest was '.*' and is '", id="one count of one cell"),
        pytest.param(lambda cells: cells[::-1].copy(), {}, "store obs_names was", id="another order of the cells"),
        pytest.param(lambda cells: cells[:-1].copy(), {}, "store n_obs was 30 and is 29", id="fewer cells"),
        pytest.param(lambda cells: cells[:, :50].copy(), {}, "inputs_digest", id="fewer genes"),
        pytest.param(_same, {"rng": 1}, "seed was 0 and is 1", id="another seed"),
        pytest.param(_same, {"n_draws": 2}, "n_draws was 1 and is 2", id="more draws"),
        pytest.param(
            _same, {"sampling": "systematic"}, "sampling was 'multinomial' and is 'systematic'", id="sampling"
        ),
        pytest.param(_same, {"padding": "official"}, "padding was 'masked' and is 'official'", id="padding"),
        pytest.param(_bfloat16, {}, "precision was 'float32' and is 'bfloat16'", id="precision"),
        pytest.param(_same, {"key_added": "e"}, "store key was 'X_uce' and is 'e'", id="another key"),
        pytest.param(_same, {"model": "other"}, "model_digest was '.*' and is '", id="another model"),
    ],
)
def test_a_store_of_other_inputs_is_refused_and_kept(cells, tiny_model, tmp_path, change, options, said):
    path = tmp_path / "s.zarr"
    uc.tl.uce_embed(cells, model=tiny_model, store=path)
    before = files(path)
    if "model" in options:
        options = {"model": write_tiny_model(tmp_path / "other", seed=1, tables=[tiny_table("human")]).path}
    with pytest.raises(ValueError, match=rf"started from other inputs: .*{said}.*Choose another path, or remove"):
        uc.tl.uce_embed(change(cells), **({"model": tiny_model, "store": path} | options))
    assert files(path) == before


def test_what_does_not_change_the_values_may_change(cells, tiny_model, tmp_path, monkeypatch):
    path = tmp_path / "s.zarr"
    uc.tl.uce_embed(cells, model=tiny_model, store=path)
    before = files(path)
    cells.layers["counts"] = sp.csc_matrix(cells.X).astype(np.int64)
    cells.X = None
    cells.var["symbol"] = cells.var_names
    monkeypatch.setattr("univerce.inference.inputs.__version__", "99")
    uc.tl.uce_embed(cells, model=tiny_model, store=path, layer="counts", gene_key="symbol")
    assert files(path) == before


def test_a_directory_of_something_else_is_left_alone(cells, tiny_model, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="exists and is not a store of embeddings; it is left alone"):
        uc.tl.uce_embed(cells, model=tiny_model, store=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_official_padding_is_the_same_in_a_store(cells, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 25)
    uc.tl.uce_embed(cells, model=tiny_model, padding="official", store=str(tmp_path / "s.zarr"))
    uc.tl.uce_embed(cells, model=tiny_model, padding="official")
    np.testing.assert_array_equal(ad.read_zarr(tmp_path / "s.zarr").obsm["X_uce"], cells.obsm["X_uce"])


def test_the_log_tells_what_each_stage_took(cells, tiny_model, tmp_path, caplog):
    with caplog.at_level("INFO", logger="univerce"):
        uc.tl.uce_embed(cells, model=tiny_model, store=tmp_path / "s.zarr")
    (record,) = [r for r in caplog.records if hasattr(r, "stages")]
    assert set(record.stages) == {"read", "tokenize", "forward", "write", "all"}
    assert all(0 < seconds <= record.stages["all"] for seconds in record.stages.values())
    assert "forward" in record.getMessage()
    assert set(ad.read_zarr(tmp_path / "s.zarr").uns["X_uce"]) == {"params"}, "times would make each result another"

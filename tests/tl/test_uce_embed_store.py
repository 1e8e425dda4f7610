"""uc.tl.uce_embed with store=: killed, resumed, damaged, and with other inputs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

import univerce as uc
from tests.helpers.files import contents
from tests.helpers.tiny import tiny_cells, tiny_table, write_tiny_model
from univerce.inference import sentence_encoder as runtime

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


def times(path: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in path.rglob("*")}


def test_a_store_holds_the_bytes_of_the_result_in_memory(tiny_model, tmp_path):
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
    params = stored.uns["univerce"]["e"]
    assert {**params, "species": list(params["species"])} == cells.uns["univerce"]["e"]
    uc.tl.check_same_space(stored, cells, use_rep="e")


# Each child dies before the file number POINT gets its name, that is, at any place between two files of the store.
_KILL = """
import importlib, os, signal, sys
import univerce as uc
from tests.helpers.tiny import tiny_cells
from univerce.genes.bundled_names import bundled_names
bundled_names()  # loaded once for all children, like the compiled tokenizer
module = importlib.import_module("univerce.tl.uce_embed")
module.BLOCK_ROWS = int(sys.argv[3])
uc.pp.uce_tokenize(tiny_cells(n=2), model=sys.argv[1])
point, written = -1, 0

def dying(event, _):
    global written
    if event == "os.rename":
        if written == point:
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1

sys.addaudithook(dying)
for point in map(int, sys.argv[4:]):
    child = os.fork()
    if child == 0:
        written = 0
        uc.tl.uce_embed(tiny_cells(n=30), model=sys.argv[1], store=f"{sys.argv[2]}/{point}.zarr")
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    print(point, -os.waitstatus_to_exitcode(status))
"""
# One name creates the store, 2 are given for each of the 4 blocks, the others by finish():
# before the creation, before the first block, between a block and its marker, in the middle, before finish()
KILLED_AT = (0, 1, 2, 5, 9)


@pytest.fixture
def killed(tiny_model, tmp_path) -> Path:
    directory = tmp_path / "killed"
    directory.mkdir()
    command = [sys.executable, "-c", _KILL, tiny_model, directory, BLOCK, *KILLED_AT]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.splitlines() == [f"{point} 9" for point in KILLED_AT], done.stderr
    return directory


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes made by os.fork")
def test_a_killed_call_resumes_to_the_same_bytes(cells, tiny_model, tmp_path, killed, monkeypatch):
    uc.tl.uce_embed(cells, model=tiny_model, store=tmp_path / "whole.zarr")
    embedded, embed_blocks = [], runtime.embed_blocks

    def recording(*arguments):
        for block in embed_blocks(*arguments):
            embedded.append(block.rows.start // BLOCK)
            yield block

    monkeypatch.setattr(runtime, "embed_blocks", recording)
    for point in KILLED_AT:
        path = killed / f"{point}.zarr"
        n_done = max(0, (point - 1) // 2)
        assert path.exists() == (point >= 1)
        if path.exists():
            assert len(list(path.glob("univerce-blocks/*.sha256"))) == n_done
            assert not (path / ".zgroup").exists(), "an unfinished store opened as an AnnData"
        embedded.clear()
        uc.tl.uce_embed(cells, model=tiny_model, store=path)
        assert embedded == list(range(n_done, 4)), "finished blocks were computed again"
        assert contents(path) == contents(tmp_path / "whole.zarr")
        assert ad.read_zarr(path).obsm["X_uce"].shape == (N, 10)


def test_a_complete_store_is_left_as_it_is(tiny_model, tmp_path, monkeypatch):
    cells = tiny_cells(n=N, empty=EMPTY)
    path = tmp_path / "s.zarr"
    with pytest.warns(UserWarning, match="2 of 30 cells"):
        uc.tl.uce_embed(cells, model=tiny_model, store=path)
    before = contents(path), times(path)
    monkeypatch.setattr(runtime, "read_network", lambda *a, **k: 1 / 0)
    with pytest.warns(UserWarning, match="2 of 30 cells"):
        uc.tl.uce_embed(cells, model=tiny_model, store=path)
    assert (contents(path), times(path)) == before


def test_a_damaged_block_is_computed_again(cells, tiny_model, tmp_path):
    path = tmp_path / "s.zarr"
    uc.tl.uce_embed(cells, model=tiny_model, store=path)
    before = contents(path)
    chunk = path / "obsm" / "X_uce" / "2.0"
    data = bytearray(chunk.read_bytes())
    data[5] ^= 1
    chunk.write_bytes(bytes(data))
    uc.tl.uce_embed(cells, model=tiny_model, store=path)
    assert contents(path) == before


def test_a_store_of_other_inputs_is_refused_and_kept(cells, tiny_model, tmp_path):
    path = tmp_path / "s.zarr"
    uc.tl.uce_embed(cells, model=tiny_model, store=path)
    before = contents(path)
    one_more = cells.copy()
    one_more.X.data[one_more.X.indptr[12]] += 1
    other = write_tiny_model(tmp_path / "other", seed=1, tables=[tiny_table("human")]).path
    for adata, options, said in (
        (one_more, {}, "inputs_digest was '.*' and is '"),
        (cells[:, :50].copy(), {}, "inputs_digest"),
        (cells, {"rng": 1}, "seed was 0 and is 1"),
        (cells, {"n_draws": 2}, "n_draws was 1 and is 2"),
        (cells, {"padding": "official"}, "padding was 'masked' and is 'official'"),
        (cells, {"key_added": "e"}, "store key was 'X_uce' and is 'e'"),
        (cells, {"model": other}, "model_digest was '.*' and is '"),
        (cells, {"precision": "bfloat16"}, "precision was 'float32' and is 'bfloat16'"),
    ):
        with (
            uc.settings.override(precision=options.pop("precision", "auto")),
            pytest.raises(ValueError, match=rf"started from other inputs: .*{said}.*Choose another path, or remove"),
        ):
            uc.tl.uce_embed(adata, **({"model": tiny_model, "store": path} | options))
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="exists and is not a store of embeddings; it is left alone"):
        uc.tl.uce_embed(cells, model=tiny_model, store=tmp_path / "t")
    assert [file.name for file in (tmp_path / "t").iterdir()] == ["thesis.txt"]
    assert contents(path) == before


def test_a_store_ignores_container_layer_gene_key_and_version(cells, tiny_model, tmp_path, monkeypatch):
    path = tmp_path / "s.zarr"
    uc.tl.uce_embed(cells, model=tiny_model, store=path)
    before = contents(path)
    cells.layers["counts"] = sp.csc_matrix(cells.X).astype(np.int64)
    cells.X = None
    cells.var["symbol"] = cells.var_names
    monkeypatch.setattr("univerce.inference.inputs.__version__", "99")
    uc.tl.uce_embed(cells, model=tiny_model, store=path, layer="counts", gene_key="symbol")
    assert contents(path) == before


def test_official_padding_is_the_same_in_a_store(cells, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 25)
    uc.tl.uce_embed(cells, model=tiny_model, padding="official", store=str(tmp_path / "s.zarr"))
    uc.tl.uce_embed(cells, model=tiny_model, padding="official")
    np.testing.assert_array_equal(ad.read_zarr(tmp_path / "s.zarr").obsm["X_uce"], cells.obsm["X_uce"])


def test_the_log_holds_the_seconds_of_each_stage(cells, tiny_model, tmp_path, caplog):
    with caplog.at_level("DEBUG", logger="univerce"):
        uc.tl.uce_embed(cells, model=tiny_model, store=tmp_path / "s.zarr")
    (record,) = [r for r in caplog.records if hasattr(r, "stages")]
    assert set(record.stages) == {"read", "tokenize", "forward", "write", "all"}
    assert all(0 < seconds <= record.stages["all"] for seconds in record.stages.values())
    assert "forward" in record.getMessage()
    assert "seconds" not in ad.read_zarr(tmp_path / "s.zarr").uns["univerce"]["X_uce"], (
        "seconds would change the result"
    )

"""Several calls at once give what each gives alone: in threads, processes, forks and a running event loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import univerce as uc
from tests.helpers.tiny import tiny_cells

MINUTES = 3  # after which a call hangs


def _embed(model: Path | None, seed: int = 0) -> bytes:
    with uc.settings.override(progress=False, device="cpu"):
        adata = tiny_cells("human", 40, seed=seed)
        uc.tl.uce_embed(adata, "human", model=model)
    return adata.obsm["X_uce"].tobytes()


def test_calls_in_threads_give_the_bytes_of_calls_in_turn(tiny_model):
    calls = [(tiny_model, 0), (None, 0), (tiny_model, 1), (None, 1)] * 3
    alone = [_embed(*call) for call in calls[:4]]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_embed, *zip(*calls, strict=True), timeout=60 * MINUTES)) == alone * 3


def test_a_running_event_loop_is_no_obstacle(tiny_model, tmp_path):
    async def notebook() -> bytes:
        adata = tiny_cells("human", 40)
        uc.tl.uce_embed(adata, "human", model=tiny_model, store=tmp_path / "store.zarr")  # zarr has a loop of its own
        table = uc.genes.load_table("zebrafish")  # from a zip of zarr
        assert table.n_obs > 20_000
        return _embed(tiny_model)

    assert asyncio.run(asyncio.wait_for(notebook(), 60 * MINUTES)) == _embed(tiny_model)


SCRIPT = """
import multiprocessing, sys, warnings
import joblib, numpy as np, torch
import univerce as uc
from tests.helpers.tiny import tiny_cells

warnings.simplefilter("ignore", DeprecationWarning)  # of Python, about forks of processes with threads
uc.settings.progress = False

def embed(model):
    adata = tiny_cells("human", 40)
    uc.tl.uce_embed(adata, "human", model=model)
    return adata.obsm["X_uce"]

def main(how, models):
    torch.set_num_threads(2)
    alone = [embed(model) for model in models]
    if how == "fork":
        with multiprocessing.get_context("fork").Pool(2) as pool:
            there = pool.map(embed, models)
    else:
        there = joblib.Parallel(2, backend=how)(joblib.delayed(embed)(model) for model in models)
    for one, other in zip(alone, there, strict=True):
        np.testing.assert_array_equal(other, one)
    print("the same")

"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fork", "loky"])
def test_workers_of_a_process_that_has_embedded_embed_too(how, tiny_model, tmp_path):
    if how == "fork" and not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    (tmp_path / "work.py").write_text(SCRIPT)
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root / "src"), str(root), str(tmp_path)])}
    done = subprocess.run(
        [sys.executable, "-c", "import sys, work; work.main(sys.argv[1], [None, *sys.argv[2:]])", how, str(tiny_model)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60 * MINUTES, check=False,
    )  # fmt: skip
    assert done.stdout == "the same\n", done.stderr
    assert ("computes with one thread" in done.stderr) == (how == "fork")


@pytest.mark.slow
def test_a_notebook_embeds():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    code = "import univerce as uc; a = uc.datasets.pbmc68k_reduced(); uc.tl.uce_embed(a); a.obsm['X_uce'].shape"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(book, timeout=60 * MINUTES, kernel_name="python3").execute()
    assert book.cells[0].outputs[-1]["data"]["text/plain"] == str((700, 128))
